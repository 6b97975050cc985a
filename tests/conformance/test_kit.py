"""The kit lets the reference pass, and names the right rung, with the right advice, for every way to be wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.hosting import environments
from tests.conformance import recording
from tests.conformance.cases import EXAMPLES
from tests.conformance.kit import Kit, Report
from tests.conformance.recording import Timing

Check = Callable[[Path], Report]
SOME = [example for example in EXAMPLES if example.name in ("rows", "regression", "strides")]


@pytest.fixture(scope="module")
def small_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit"), SOME)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the timing out where it is not the point."""
    monkeypatch.setattr(recording, "time_windows", lambda *_: Timing(1, 0.1, 0.2, 0.0))


@pytest.fixture
def check(small_kit: Kit) -> Check:
    def check(path: Path) -> Report:
        return small_kit.check(environments.find(str(path)), Path(sys.executable), "numpy")

    return check


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
    assert len(report.rungs) == 32
    assert "equal to the bit" in text(report, "determinism")
    assert "NumPy has no input pipeline" in text(report, "loader"), "a mode may be without a loader"


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
                self.training.velocities.clear()
                return super().train(data, batches)
            """,
            "training rows",
            "after the first one",
        ),
        (
            """
            def load(self, job):
                layers = [replace(x, stride=3) if isinstance(x, MaxPool2d) else x for x in job.model.layers]
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
    ],
)
def test_each_way_to_be_wrong_fails_at_its_rung(
    check: Check, write_backend: Callable[..., Path], body: str, rung: str, said: str
) -> None:
    top = "from dataclasses import replace\nfrom backends.contract import MaxPool2d, ReLU, Tanh, Unavailable"
    report = check(write_backend("wrong", body, top))
    assert not report.holds
    first, explanation = next(iter(failed(report).items()))
    assert first == rung, failed(report)
    assert said in explanation


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
    monkeypatch.setattr(recording, "LONGEST_TIMING", 3.0)  # it is wrong from the first window to the last
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
    report = check(write_backend("early", body, "import threading"))
    assert "synchronize" in failed(report)


def test_the_quick_kit_times_nothing_and_leaves_out_nothing_else(small_kit: Kit) -> None:
    backend, python = environments.find("reference"), Path(sys.executable)
    quick, whole = (small_kit.check(backend, python, "numpy", quick=quick) for quick in (True, False))
    assert quick.holds
    assert [rung.name for rung in quick.rungs] == [rung.name for rung in whole.rungs if rung.name != "synchronize"]


def test_losses_that_a_long_call_drops_are_missed(check: Check, write_backend: Callable[..., Path]) -> None:
    report = check(write_backend("few", "def synchronize(self, handle):\n    return super().synchronize(handle)[-16:]"))
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
        trained = bool(self.training.velocities)
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
