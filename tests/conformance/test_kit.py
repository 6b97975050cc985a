"""The kit lets the reference pass, and names the right rung, with the right advice, for every way to be wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.hosting import environments
from benchmarks.machine.processors import physical_cores
from tests.conformance import probes, work
from tests.conformance.cases import EXAMPLES
from tests.conformance.findings import Rung
from tests.conformance.kit import Kit, Report
from tests.conformance.measuring import Threads, Timing

Check = Callable[..., Report]
SOME = [example for example in EXAMPLES if example.name in ("rows", "regression", "strides")]


@pytest.fixture(scope="module")
def small_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit"), SOME)


@pytest.fixture(scope="module")
def models_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """With batch normalization, Adam, clipping, smoothing and rates."""
    models = [example for example in EXAMPLES if example.name in ("features", "channels")]
    return Kit(tmp_path_factory.mktemp("models"), models)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the timing out where it is not the point."""
    monkeypatch.setattr(work, "time_windows", lambda *_: Timing(1, 0.1, 0.2, 0.0))


@pytest.fixture
def check(small_kit: Kit) -> Check:
    def check(path: Path, quick: bool = True) -> Report:
        return small_kit.check(environments.find(str(path)), Path(sys.executable), "numpy", quick=quick)

    return check


TOP = """
from dataclasses import replace
from functools import reduce
from backends.contract import MaxPool2d, ReLU, Tanh, Unavailable
from backends.float64.arrays import Back
from backends.float64.layers import OPERATIONS
from backends.float64.windows import places

def share_among_ties(layer, own, x):
    candidates = places(x, layer.kernel, layer.stride)
    y = reduce(np.maximum, candidates)
    ties = sum(candidate == y for candidate in candidates)

    def inputs(g):
        total = np.zeros(x.shape)
        for place, candidate in zip(places(total, layer.kernel, layer.stride), candidates):
            place += g * (candidate == y) / ties
        return total

    return y, Back(inputs)
"""


def failed(report: Report) -> dict[str, str]:
    """The rungs that do not hold and were not merely out of reach, with all that is said of them."""
    findings = {rung.name: rung.finding for rung in report.rungs if not rung.finding.holds}
    return {
        name: f"{finding.figure} {finding.advice}"
        for name, finding in findings.items()
        if not finding.figure.endswith("has to hold first")
    }


def text(report: Report, name: str) -> str:
    return next(rung.finding.figure for rung in report.rungs if rung.name == name)


def test_the_reference_passes(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    report = kit.check(environments.find("reference"), Path(sys.executable), "numpy")
    assert failed(report) == {}
    assert report.holds
    assert len(report.rungs) == 47
    assert "equal to the bit" in text(report, "determinism")
    assert "NumPy has no input pipeline" in text(report, "loader"), "a mode may be without a loader"
    assert text(report, "odd values").endswith("subnormal numbers: through every layer")
    assert "cannot tell its threads" in text(report, "threads")


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize(
    ("body", "rung", "said"),
    [
        (
            "def parameters(self):\n    return {k: v.T.reshape(v.shape) for k, v in super().parameters().items()}",
            "layouts",
            "0.weight is transposed",
        ),
        (
            "def parameters(self):\n    return {k.replace('.', '_'): v for k, v in super().parameters().items()}",
            "layouts",
            "they have to be 0.weight",
        ),
        (
            """
            def load(self, job):
                plain = replace(job.optimizer, nesterov=False)
                super().load(replace(job, optimizer=plain))
            """,
            "one step regression",
            "if nesterov is ignored",
        ),
        (
            """
            def load(self, job):
                plain = replace(job.optimizer, weight_decay=0.0)
                super().load(replace(job, optimizer=plain))
            """,
            "one step strides",
            "if weight decay is ignored",
        ),
        (
            """
            def load(self, job):
                sgd = job.optimizer if job.optimizer.nesterov else replace(job.optimizer, momentum=0.0)
                super().load(replace(job, optimizer=sgd))
            """,
            "training rows",
            "if momentum is ignored",
        ),
        (
            """
            def load(self, job):
                scaled = replace(job.optimizer, learning_rate=16 * job.optimizer.learning_rate)
                super().load(replace(job, optimizer=scaled))
            """,
            "one step rows",
            "the sum over the batch",
        ),
        (
            "def synchronize(self, handle):\n    return super().synchronize(handle) * 16",
            "loss cross-entropy",
            "mean over the batch",
        ),
        (
            """
            def predict(self, data):
                outputs = super().predict(data)
                self.training.step(data.features, data.labels)
                return outputs
            """,
            "predict",
            "predict changed the parameters",
        ),
        (
            """
            def train(self, data, batches):
                if batches.shape[1] in (7, 20):
                    return [0.0] * len(batches)
                return super().train(data, batches)
            """,
            "short last batch",
            "neither dropped",
        ),
        (
            """
            def train(self, data, batches):
                self.training.state.clear()
                return super().train(data, batches)
            """,
            "training rows",
            "after the first one",
        ),
        (
            """
            def load(self, job):
                layers = [replace(x, stride=(3, 3)) if isinstance(x, MaxPool2d) else x for x in job.model.layers]
                super().load(replace(job, model=replace(job.model, layers=tuple(layers))))
            """,
            "predict",
            "predict: ValueError",
        ),
        (
            """
            def load(self, job):
                layers = [Tanh() if isinstance(x, ReLU) else x for x in job.model.layers]
                super().load(replace(job, model=replace(job.model, layers=tuple(layers))))
            """,
            "outputs rows",
            "the first wrong layer is layers[3], relu",
        ),
        (
            """
            def load(self, job):
                super().load(replace(job, device="cpu"))
            """,
            "no GPU",
            "it loaded all the same",
        ),
        (
            "def describe(self):\n    return {**super().describe(), 'threads': 'four'}",
            "describe",
            "threads: missing, or not what is expected",
        ),
        (
            "def describe(self):\n    return {**super().describe(), 'threads': 0}",
            "describe",
            "never 0",
        ),
        (
            "def describe(self):\n    return {**super().describe(), 'compiled': ['everything']}",
            "describe",
            "compiled: missing, or not what is expected",
        ),
        (
            "def synchronize(self, handle):\n    return np.array(handle)",
            "loss cross-entropy",
            "synchronize returned float64",
        ),
        (
            "def predict(self, data):\n    return super().predict(data)[:32 - 1]",
            "predict",
            "return a float32 array with 50 rows",
        ),
        (
            """
            def load(self, job):
                if any(isinstance(layer, MaxPool2d) for layer in job.model.layers):
                    raise Unavailable("no max_pool2d yet")
                super().load(job)
            """,
            "load",
            "no max_pool2d yet in strides",
        ),
        (
            """
            def load(self, job):
                self.input = job.input
                super().load(replace(job, input="resident"))

            def train(self, data, batches):
                return super().train(data, batches[::-1] if self.input == "loader" else batches)
            """,
            "loader",
            "row after row",
        ),
        (
            """
            def load(self, job):
                if job.input == "loader":
                    raise ImportError("no module named loader")
                super().load(job)
            """,
            "loader",
            "load: ImportError",
        ),
        (
            """
            def load(self, job):
                super().load(job)
                self.own = super().parameters()

            def synchronize(self, handle):
                for name, values in super().parameters().items():
                    self.own[name][...] = values
                return super().synchronize(handle)

            def parameters(self):
                return self.own
            """,
            "copies",
            "changed with the next step: in rows",
        ),
        (
            """
            def load(self, job):
                OPERATIONS[MaxPool2d] = share_among_ties
                super().load(job)
            """,
            "ties",
            "share it among them",
        ),
    ],
)
def test_each_way_to_be_wrong_fails_at_its_rung(
    check: Check, write_backend: Callable[..., Path], body: str, rung: str, said: str
) -> None:
    report = check(write_backend("wrong", body, TOP))
    assert not report.holds
    first, explanation = next(iter(failed(report).items()))
    assert first == rung, failed(report)
    assert said in explanation


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize(
    ("body", "rung", "said"),
    [
        (
            """
            def load(self, job):
                super().load(replace(job, optimizer=replace(job.optimizer, clip_norm=0.0)))
            """,
            "one step features",
            "if gradients are not clipped",
        ),
        (
            """
            def load(self, job):
                super().load(replace(job, label_smoothing=0.0))
            """,
            "loss cross-entropy",
            "at features",
        ),
        (
            """
            def train(self, data, batches, rates=None):
                return super().train(data, batches)
            """,
            "training channels",
            "if every step has the first rate",
        ),
        (
            """
            def train(self, data, batches, rates=None):
                kept = {k: v for k, v in self.training.parameters.items() if "running" in k}
                losses = super().train(data, batches, rates)
                if len(batches) > 1:
                    self.training.parameters.update(kept)
                return losses
            """,
            "running statistics",
            "once in every step",
        ),
        (
            """
            def moments(self):
                first, second = super().moments()
                return second, first
            """,
            "moments",
            "moments returns m and v",
        ),
    ],
)
def test_each_way_to_be_wrong_with_what_models_have_fails_at_its_rung(
    models_kit: Kit, write_backend: Callable[..., Path], body: str, rung: str, said: str
) -> None:
    backend = environments.find(str(write_backend("wrong", body, TOP)))
    first, explanation = next(
        iter(failed(models_kit.check(backend, Path(sys.executable), "numpy", quick=True)).items())
    )
    assert first == rung
    assert said in explanation


@pytest.mark.usefixtures("untimed")
def test_what_a_layer_hides_is_told_and_not_refused(check: Check, write_backend: Callable[..., Path]) -> None:
    body = """
    def load(self, job):
        OPERATIONS[ReLU] = lambda layer, own, x: (np.where(x > 0, x, 0), Back(lambda g: g * (x > 0)))
        OPERATIONS[Tanh] = lambda layer, own, x: (np.tanh(x) * (abs(x) > 1e-38), Back(lambda g: g / np.cosh(x) ** 2))
        super().load(job)
    """
    report = check(write_backend("hiding", body, TOP), quick=False)
    assert report.holds, failed(report)
    assert text(report, "odd values") == (
        "not-a-number: changed by relu; subnormal numbers: flushed to 0 by tanh; "
        "infinity, minus infinity: through every layer"
    )


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize("view", ["np.asfortranarray(v)", "np.ascontiguousarray(v.T).T"])
def test_parameters_may_lie_in_memory_as_they_like(check: Check, write_backend: Callable[..., Path], view: str) -> None:
    body = f"def parameters(self):\n    return {{k: {view} for k, v in super().parameters().items()}}"
    assert failed(check(write_backend("columns", body))) == {}


@pytest.mark.parametrize(
    ("threads", "holds"),
    [
        (Threads(given=2, reported=2, busy=1.9, spread=2.0), True),
        (Threads(given=2, reported=2, busy=0.7, spread=1.9), True),  # on a machine with other work
        (Threads(given=2, reported=2, busy=1.0, spread=1.0), False),  # one does it all
        (Threads(given=2, reported=8, busy=1.9, spread=2.0), False),
        (Threads(given=2, reported=1, busy=1.0, spread=1.0), True),
        (Threads(given=2, reported=1, busy=1.0, spread=2.0), True),  # one works for the other
        (Threads(given=2, reported=1, busy=1.8, spread=2.0), False),
        (Threads(given=2, reported=None, busy=1.8, spread=2.0), True),
    ],
)
def test_threads_that_are_told_fit_the_processor_time(threads: Threads, holds: bool) -> None:
    assert threads.are_told is holds


@pytest.mark.skipif(len(physical_cores()) < 2, reason="one processor does not tell")
@pytest.mark.usefixtures("untimed")
def test_threads_that_do_not_work_are_seen(check: Check, write_backend: Callable[..., Path]) -> None:
    body = """
    def load(self, job):
        super().load(job)
        self.limit = threadpool_limits(1)

    def describe(self):
        return {**super().describe(), 'threads': len(os.sched_getaffinity(0))}
    """
    report = check(write_backend("lazy", body, "from threadpoolctl import threadpool_limits"), quick=False)
    assert "tells 2 threads" in failed(report)["threads"]


def test_rungs_are_told_one_by_one_and_how_long_it_will_take(small_kit: Kit) -> None:
    told: list[str] = []
    seconds: list[float] = []
    backend, python = environments.find("reference"), Path(sys.executable)
    report = small_kit.check(
        backend, python, "numpy", quick=True, tell=lambda rung: told.append(rung.name), expect=seconds.append
    )
    assert told == [rung.name for rung in report.rungs]
    assert 0 < seconds[0] < 60


@pytest.mark.usefixtures("untimed")
def test_early_rungs_are_told_while_others_work(small_kit: Kit, write_backend: Callable[..., Path]) -> None:
    told: list[tuple[str, float]] = []
    body = """
    def train(self, data, batches):
        time.sleep(0 if self.training.state else 0.5)  # in the first call
        return super().train(data, batches)
    """
    path = write_backend("slow", body)
    small_kit.check(
        environments.find(str(path)),
        Path(sys.executable),
        "numpy",
        quick=True,
        tell=lambda rung: told.append((rung.name, time.perf_counter())),
    )
    at = dict(told)
    assert at["outputs strides"] < at["one step rows"] - 0.2


def test_a_worker_that_hangs_is_ended_in_time(tmp_path: Path, write_backend: Callable[..., Path]) -> None:
    hasty = Kit(tmp_path / "kit", SOME, timeout=4.0)
    path = write_backend("hangs", "def train(self, data, batches):\n    time.sleep(1000)")
    begin = time.perf_counter()
    report = hasty.check(environments.find(str(path)), Path(sys.executable), "numpy", quick=True)
    assert "train and synchronize: no answer within the time-out" in " ".join(failed(report).values())
    assert time.perf_counter() - begin < 40, "not for each example anew"


def test_who_stops_the_kit_does_not_wait_for_its_workers(small_kit: Kit, write_backend: Callable[..., Path]) -> None:
    path = write_backend("hangs", "def train(self, data, batches):\n    time.sleep(1000)")

    def stop(rung: Rung) -> None:
        if rung.name == "layouts":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_kit.check(environments.find(str(path)), Path(sys.executable), "numpy", tell=stop)


@pytest.mark.usefixtures("untimed")
def test_work_that_goes_on_after_synchronize_is_seen(check: Check, write_backend: Callable[..., Path]) -> None:
    body = """
    def train(self, data, batches):
        if threading.active_count() == 1:
            threading.Thread(target=spin, daemon=True).start()
        return super().train(data, batches)
    """
    report = check(write_backend("busy", body, "import threading\ndef spin():\n    while True: pass"))
    assert "of a core" in failed(report)["idle"]


def test_a_synchronize_that_does_not_wait_is_seen(
    check: Check, write_backend: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "LONGEST_TIMING", 3.0)  # it is wrong from the first window to the last
    body = """
    def train(self, data, batches):
        self.thread = threading.Thread(target=time.sleep, args=(0.02 * len(batches),))
        self.thread.start()
        return [0.0] * len(batches)

    def parameters(self):
        if hasattr(self, "thread"):
            self.thread.join()
        return super().parameters()
    """
    report = check(write_backend("early", body, "import threading"), quick=False)
    assert "synchronize" in failed(report)


def test_the_quick_kit_times_nothing_and_has_no_models_compiled_for_a_look(small_kit: Kit) -> None:
    backend, python = environments.find("reference"), Path(sys.executable)
    quick, whole = (small_kit.check(backend, python, "numpy", quick=quick) for quick in (True, False))
    assert quick.holds
    left_out = ("odd values", "threads", "synchronize")
    assert [rung.name for rung in quick.rungs] == [rung.name for rung in whole.rungs if rung.name not in left_out]


def test_losses_that_a_long_call_drops_are_missed(check: Check, write_backend: Callable[..., Path]) -> None:
    path = write_backend("few", "def synchronize(self, handle):\n    return super().synchronize(handle)[-16:]")
    report = check(path, quick=False)
    assert "synchronize returned float32 of shape (16,)" in failed(report)["synchronize"]


@pytest.mark.usefixtures("untimed")
def test_a_difference_between_two_processes_is_reported_and_allowed_within_rounding(
    check: Check, write_backend: Callable[..., Path]
) -> None:
    body = """
    def load(self, job):
        super().load(job)
        with open(__file__ + ".loads", "a") as loads:
            loads.write("+")
            self.shift = 1e-8 * (loads.tell() % 7 + 1)

    def parameters(self):
        trained = bool(self.training.state)
        return {k: v + np.float32(self.shift * trained) for k, v in super().parameters().items()}
    """
    report = check(write_backend("random", body))
    assert report.holds, failed(report)
    assert "NOT equal to the bit" in text(report, "determinism")


@pytest.mark.usefixtures("untimed")
def test_a_backend_that_dies_shows_its_last_words(check: Check, write_backend: Callable[..., Path]) -> None:
    report = check(write_backend("dies", "def put(self, features, labels):\n    print('oh no'); os._exit(3)"))
    first, explanation = next(iter(failed(report).items()))
    assert first == "predict"
    assert "put: the worker exited with code 3" in explanation
    assert "oh no" in explanation


@pytest.mark.usefixtures("untimed")
def test_the_skeleton_says_what_to_write_next(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each method that is written, here borrowed from the reference, moves the message on to the next one."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", "from benchmarks.cli import main; main()", "new-backend", "mine"], check=True)
    path = tmp_path / "mine.py"
    path.write_text(path.read_text().replace('"eager": ', '"numpy": '))
    for method, rung in METHODS:
        report = check(path)
        first, explanation = next(iter(failed(report).items()))
        assert first == rung
        assert f"write {method}: " in explanation
        path.write_text(path.read_text() + borrowed(method))
    assert check(path).holds


@pytest.mark.parametrize("name", ["9lives", "a-b", "class", "pytorch", "taken"])
def test_new_backend_writes_over_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken.py").write_text("mine")
    command = [sys.executable, "-c", "from benchmarks.cli import main; main()", "new-backend", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "taken.py").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


METHODS = [
    ("load", "load"),
    ("describe", "describe"),
    ("parameters", "layouts"),
    ("put", "predict"),
    ("predict", "predict"),
    ("train", "loss cross-entropy"),
    ("synchronize", "loss cross-entropy"),
]


def borrowed(method: str) -> str:
    return f"\nfrom backends import reference\nMine.{method} = reference.Reference.{method}\n"


def test_the_command_ends_with_one_line_for_bad_input() -> None:
    for arguments, said in ((["no-such"], "there is none of this name"), (["reference", "--mode", "fast"], "numpy")):
        command = [sys.executable, "-m", "tests.conformance", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
