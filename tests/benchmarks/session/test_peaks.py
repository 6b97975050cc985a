"""The machine's peak is what the backends reach on square products; a backend that fails has a reason instead."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from backends.hosting import environments
from benchmarks.machine.processors import processors_for
from benchmarks.session import peaks
from benchmarks.session.peaks import Contestant, ProductPeak, copy_bandwidth, product_peaks
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Launch

Measure = Callable[..., list[ProductPeak]]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Measure backends given by name or file on small matrices."""
    monkeypatch.setattr(peaks, "SIZES", (16, 32, 64))

    def measure(*names: object, device: str = "cpu", budget: float = 60) -> list[ProductPeak]:
        contestants = []
        for number, name in enumerate(names):
            folder, log = tmp_path / "workers" / str(number), tmp_path / f"{number}.log"
            environment, processors = worker_environment(1), processors_for(1)
            launch = Launch(Path(sys.executable), folder, log, environment, processors, budget)
            contestants.append(Contestant(environments.find(str(name)), device, launch))
        return product_peaks(contestants, tmp_path / "matrices")

    return measure


def test_the_reference_has_a_peak(measure: Measure) -> None:
    (peak,) = measure("reference")
    assert (peak.backend, peak.mode, peak.device, peak.reason) == ("reference", "numpy", "cpu", "")
    assert peak.size in peaks.SIZES
    assert peak.gflops
    assert peak.gflops > 0


def test_a_backend_trains_two_square_products_on_one_batch_of_all_samples(measure: Measure, write_backend) -> None:
    """The backend itself looks, and fails where it is asked for anything else."""
    body = """
    loaded = False
    def load(self, job):
        assert not self.loaded, "loaded twice"
        self.loaded, self.size = True, job.model.input_shape[0]
        assert len(job.model.layers) == 1 and job.loss == "mean-squared-error" and job.optimizer.learning_rate > 0
        assert job.parameters["0.weight"].shape == (self.size, self.size)
        super().load(job)
    def put(self, features, labels):
        assert features.shape == labels.shape == (self.size, self.size)
        return super().put(features, labels)
    def train(self, data, batches):
        assert batches.shape == (1, self.size) and set(batches[0]) == set(range(self.size))
        return super().train(data, batches)
    def synchronize(self, handle):
        losses = super().synchronize(handle)
        assert np.isfinite(losses).all()
        return losses
    """
    (peak,) = measure(write_backend("looking", body))
    assert peak.reason == ""
    assert peak.gflops


SLEEP = "def train(self, data, batches):\n    time.sleep({}); return super().train(data, batches)"


def test_the_operations_of_a_step_are_divided_by_its_time(measure: Measure, write_backend) -> None:
    (peak,) = measure(write_backend("slow", SLEEP.format("0.2")))
    assert peak.size == 16, "a long step is the last"
    assert peak.gflops
    assert 4 * 16**3 / 60 / 1e9 < peak.gflops <= 4 * 16**3 / 0.2 / 1e9


@pytest.mark.alone
def test_the_first_step_does_not_count(measure: Measure, write_backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds compilation; neither does one that something else disturbed."""
    monkeypatch.setattr(peaks, "SIZES", (64,))
    top = "PAUSES = iter([2, 0.5])"
    (peak,) = measure(write_backend("compiling", SLEEP.format("next(PAUSES, 0)"), top))
    assert peak.gflops
    assert peak.gflops > 4 * 64**3 / 0.5 / 1e9


def test_sizes_grow_while_steps_are_short_and_the_best_counts(
    measure: Measure, write_backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peaks, "LONG_STEP", 60)
    constant = write_backend("constant", SLEEP.format("0.05"))
    sinking = write_backend("sinking", SLEEP.format("1.0 * (len(batches[0]) > 16)"))
    monkeypatch.setattr(peaks, "SIZES", (16, 32))
    assert [peak.size for peak in measure(constant, sinking)] == [32, 16]


FAULTS = {
    "unimportable": ("raise ImportError('libmissing.so')", "libmissing.so"),
    "unable": (
        "def load(self, *a, **k):\n    from backends.contract import Unavailable; raise Unavailable('not today')",
        "not today",
    ),
    "killed": ("def train(self, data, batches):\n    os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "silent": ("def put(self, *a):\n    os._exit(0)", "exited with code 0"),
    "raising": ("def synchronize(self, handle):\n    raise ValueError('no such thing')", "ValueError: no such thing"),
    "hanging": ("def train(self, data, batches):\n    time.sleep(600)", "time-out"),
}


def test_every_fault_has_its_reason_and_the_others_are_measured(measure: Measure, write_backend) -> None:
    files = [write_backend(name, body) for name, (body, _) in FAULTS.items()]
    *broken, reference = measure(*files, "reference", budget=10)
    assert [peak.backend for peak in broken] == list(FAULTS), "in the order given"
    for peak in broken:
        assert peak.gflops is None
        assert peak.size is None
        assert FAULTS[peak.backend][1] in peak.reason
    assert reference.gflops


def test_what_was_measured_before_a_larger_product_failed_stays(measure: Measure, write_backend) -> None:
    body = """
    def put(self, features, labels):
        if len(features) > 32:
            raise MemoryError("too large")
        return super().put(features, labels)
    """
    (peak,) = measure(write_backend("small", body))
    assert peak.gflops
    assert peak.size in (16, 32)
    assert "too large" in peak.reason


def test_auto_is_the_gpu_where_there_is_one_else_the_cpu(measure: Measure, write_backend) -> None:
    without = """
    devices = ("cpu", "gpu")
    def load(self, job):
        if job.device == "gpu":
            from backends.contract import Unavailable
            raise Unavailable("no GPU")
        super().load(job)
    """
    having = 'devices = ("cpu", "gpu")'
    files = [write_backend("without", without), write_backend("having", having)]
    assert [(peak.device, bool(peak.gflops)) for peak in measure(*files, device="auto")] == [
        ("cpu", True),
        ("gpu", True),
    ]


def test_one_backend_multiplies_at_a_time(measure: Measure, write_backend) -> None:
    """Those before it are gone, with their memory, and those after it are stopped."""
    body = """
    def load(self, job):
        time.sleep(0.1)  # signals need a moment
        siblings = [p for p in psutil.Process(os.getppid()).children() if p.pid != os.getpid()]
        siblings = [p for p in siblings if p.status() != psutil.STATUS_ZOMBIE]  # of tests before this one
        states = [p.status() for p in siblings if "worker.py" in " ".join(p.cmdline())]
        assert states == [psutil.STATUS_STOPPED] * (2 - NUMBER), states
        super().load(job)
    """
    files = [write_backend(f"number{number}", body, f"import psutil; NUMBER = {number}") for number in range(3)]
    assert [peak.reason for peak in measure(*files)] == ["", "", ""]


def test_no_worker_is_left(measure: Measure, write_backend) -> None:
    measure("reference", write_backend("broken", "raise ImportError"))
    alive = [process for process in psutil.Process().children() if process.status() != psutil.STATUS_ZOMBIE]
    assert [process for process in alive if "worker.py" in " ".join(process.cmdline())] == []


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_is_copied_at_some_speed(threads: int) -> None:
    assert 1e8 < copy_bandwidth(threads) < 1e14


def test_every_byte_is_copied_once_by_the_threads_and_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "COPIED_BYTES", 2**20)
    copies: list[tuple[int, int]] = []
    real = np.copyto

    def copyto(target: NDArray[np.float64], source: NDArray[np.float64]) -> None:
        real(target, source)
        time.sleep(0.02)
        copies.append((target.ctypes.data, target.nbytes))

    monkeypatch.setattr(np, "copyto", copyto)
    bandwidth = copy_bandwidth(3)
    assert len(copies) == 3 * peaks.TRIES
    assert sum(size for _, size in copies) == peaks.TRIES * 2**20
    assert len({start for start, _ in copies}) == 3
    assert bandwidth <= 2 * 2**20 / 0.02
