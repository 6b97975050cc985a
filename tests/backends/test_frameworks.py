"""Every backend in the folder, in each of its modes and its own environment, passes the conformance kit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.machine.processors import physical_cores
from benchmarks.worker.process import WorkerProcess
from tests.conformance.__main__ import show
from tests.conformance.cases import EXAMPLES, STEPS, TEST_CHUNK, Files, write
from tests.conformance.hosting import SharedHost
from tests.conformance.kit import Kit, judged
from tests.conformance.recording import Target, load, order, put, worker

MODES = [(name, mode) for name in environments.names() if name != "reference" for mode in environments.find(name).modes]

PROCESSORS = physical_cores()

HostOf = Callable[[str], SharedHost]
ReadyWorker = Callable[..., AbstractContextManager[WorkerProcess]]

FLUSHING = {("jax", "jit"), ("jax", "scan"), ("mindspore", "graph")}
"""Modes that make 0 of subnormal numbers."""

LONG = 70
"""Steps, more than the 64 losses that JAX's jitted step has room for before it is compiled for more."""


ONLY_EVERY_STEP = {("pytorch", "compile")}
"""Modes whose kit is in ``nox -s check`` alone: this one is eager, its model and loss compiled."""

EXAMPLES_OF = {
    ("jax", "scan"): ("decay", "channels"),
    ("pytorch", "step"): ("channels",),
    ("pytorch", "aot"): ("features",),
}
"""Modes whose compiler takes long for each example: of these, the quick kit; ``nox -s check`` has all of it for them.

What is not seen here is seen elsewhere. The layers are built by the same code as in eager and jit, which have every
example. The optimizer is jit's in scan; step and aot share theirs, which is Nesterov's SGD in "channels", Adam in
"features", and plain momentum in the test of every step, which is of every mode. ``synchronize`` is that of eager and
jit, where it is timed.
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with Kit(tmp_path_factory.mktemp("kit")) as kit:
        yield kit


@pytest.mark.parametrize(("name", "mode"), [pair for pair in MODES if pair not in ONLY_EVERY_STEP])
def test_a_framework_passes_the_kit(kit: Kit, interpreters: Interpreters, name: str, mode: str) -> None:
    backend = environments.find(name)
    examples = EXAMPLES_OF.get((name, mode), ())
    report = kit.check(backend, interpreters.path(backend), mode, examples=examples, quick=bool(examples))
    listing = StringIO()
    show(f"{name} {mode}", report, Console(file=listing, width=140))
    assert report.holds, listing.getvalue()


@pytest.fixture
def example(tmp_path: Path) -> Files:
    return write(EXAMPLES[0], tmp_path / "example")


@pytest.fixture(scope="module")
def host_of(tmp_path_factory: pytest.TempPathFactory, interpreters: Interpreters) -> Iterator[HostOf]:
    """A process that has imported a framework for one thread; the workers of all tests are copies of it."""
    made: dict[str, SharedHost] = {}

    def host_of(name: str) -> SharedHost:
        if name not in made:
            backend = environments.find(name)
            target = Target(backend.path, interpreters.path(backend), "", "cpu", (PROCESSORS[-1],))
            made[name] = SharedHost(target.launch(tmp_path_factory.mktemp(name)), backend.path)
        return made[name]

    yield host_of
    for host in made.values():
        host.end()


@pytest.fixture
def ready_worker(tmp_path: Path, interpreters: Interpreters, host_of: HostOf, example: Files) -> ReadyWorker:
    """A worker of a framework in one of its modes, which has all that it needs to train on the example."""

    @contextmanager
    def ready(
        name: str, mode: str, processors: Sequence[int], files: Files = example, stock: bool = False
    ) -> Iterator[WorkerProcess]:
        backend = environments.find(name)
        host = host_of(name) if len(processors) == 1 else None
        target = Target(backend.path, interpreters.path(backend), mode, "cpu", tuple(processors), host=host)
        with worker(target, tmp_path / f"worker-{files.folder.name}") as process:
            load(process, files, target, "cpu", stock=stock)
            put(process, files, "train", len(files.case.features))
            order(process, files)
            yield process

    return ready


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_every_step_has_its_loss_in_calls_that_are_under_way_together_and_in_a_long_one(
    ready_worker: ReadyWorker, example: Files, name: str, mode: str
) -> None:
    """A timed window asks for all of its calls before it synchronizes the first.

    And on one processor it reports one thread, or every sentence that compares it would end with a caution.
    """
    with ready_worker(name, mode, PROCESSORS[-1:]) as process:
        put(process, example, "test", TEST_CHUNK)
        (outputs,) = process.ask("predict", name="test").arrays
        (losses,) = process.ask("train", start=0, steps=2, windows=[STEPS // 2]).arrays
        (of_a_long_call,) = process.ask("train", start=0, steps=LONG).arrays
        settings = process.ask("describe").values["settings"]
    assert settings["threads"] == 1
    assert settings["flushes_subnormals"] is ((name, mode) in FLUSHING)
    assert of_a_long_call.shape == (LONG,)
    expected = judged(example)
    np.testing.assert_allclose(outputs, expected.logits.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(losses, expected.losses.values[:STEPS], rtol=1e-4)


def test_a_library_that_was_compiled_for_another_batch_size_is_not_taken(
    ready_worker: ReadyWorker, example: Files, tmp_path: Path
) -> None:
    """PyTorch's aot keeps its libraries where compilers keep their results, by all that they were compiled for."""
    for files in (example, write(replace(EXAMPLES[0], batch_size=12), tmp_path / "smaller")):
        with ready_worker("pytorch", "aot", PROCESSORS[-1:], files) as process:
            (losses,) = process.ask("train", start=0, steps=STEPS).arrays
        np.testing.assert_allclose(losses, judged(files).losses.values[:STEPS], rtol=1e-4)


def test_another_instance_of_mindspore_loads_in_the_same_process(ready_worker: ReadyWorker, example: Files) -> None:
    """As for the machine's peak, one size of matrices after the other: MindSpore sizes its threads once."""
    backend = environments.find("mindspore")
    target = Target(backend.path, Path(), "pynative", "cpu", ())
    with ready_worker("mindspore", "pynative", PROCESSORS) as process:
        process.ask("train", start=0, steps=1)
        process.ask("import", file=str(backend.path))
        load(process, example, target, "cpu")
        put(process, example, "train", len(example.case.features))
        (losses,) = process.ask("train", start=0, steps=STEPS).arrays
    np.testing.assert_allclose(losses, judged(example).losses.values[:STEPS], rtol=1e-4)


@pytest.mark.parametrize(("mode", "blocking"), [("pynative", True), ("graph", False)])
def test_mindspores_pynative_launches_without_its_pipeline_on_one_processor(
    ready_worker: ReadyWorker, mode: str, blocking: bool
) -> None:
    with ready_worker("mindspore", mode, PROCESSORS[-1:]) as process:
        assert process.ask("describe").values["settings"]["launch_blocking"] is blocking


@pytest.fixture
def convolutions(tmp_path: Path) -> Files:
    (model,) = (model for model in EXAMPLES if model.name == "strides")
    return write(model, tmp_path / "convolutions")


@pytest.mark.parametrize(("stock", "tuning"), [(False, (True, "AVX2")), (True, (False, None))])
def test_stock_mindspore_does_the_same_work_without_what_lockstep_sets(
    ready_worker: ReadyWorker,
    convolutions: Files,
    monkeypatch: pytest.MonkeyPatch,
    stock: bool,
    tuning: tuple[bool, str | None],
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    with ready_worker("mindspore", "pynative", PROCESSORS[-1:], convolutions, stock=stock) as process:
        (losses,) = process.ask("train", start=0, steps=STEPS).arrays
        settings = process.ask("describe").values["settings"]
    assert (settings["launch_blocking"], settings["onednn_max_cpu_isa"]) == tuning
    np.testing.assert_allclose(losses, judged(convolutions).losses.values[:STEPS], rtol=1e-4)


@pytest.mark.parametrize(("name", "mode"), [("pytorch", "eager"), ("jax", "scan")])
def test_the_others_do_the_same_work_when_they_are_stock(
    ready_worker: ReadyWorker, convolutions: Files, name: str, mode: str
) -> None:
    with ready_worker(name, mode, PROCESSORS[-1:], convolutions, stock=True) as process:
        (losses,) = process.ask("train", start=0, steps=STEPS).arrays
    np.testing.assert_allclose(losses, judged(convolutions).losses.values[:STEPS], rtol=1e-4)


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(), reason="huge pages are not for who asks only"
)
@pytest.mark.parametrize(
    ("name", "stock", "found"),
    [("pytorch", False, True), ("mindspore", False, True), ("jax", False, True), ("jax", True, False)],
)
def test_large_data_has_huge_pages_in_every_framework_unless_it_is_stock(
    ready_worker: ReadyWorker, tmp_path: Path, name: str, stock: bool, found: bool
) -> None:
    arrays = {"features": np.ones((1 << 21, 7), np.float32), "labels": np.zeros(1 << 21, np.int32)}
    paths = {part: str(tmp_path / f"{part}.npy") for part in arrays}
    for part, values in arrays.items():
        np.save(paths[part], values)
    mode = next(iter(environments.find(name).modes))
    with ready_worker(name, mode, PROCESSORS[-1:], stock=stock) as process:
        process.ask("put", name="train", chunk=1 << 21, **paths)
        process.ask("train", start=0, steps=1)  # by then it is where it stays
        size = Path(f"/proc/{process.pid}/smaps_rollup").read_text().split("AnonHugePages:")[1].split()[0]
    assert (int(size) * 1024 > arrays["features"].nbytes / 2) is found
