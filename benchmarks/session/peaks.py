"""What the machine can do at most, measured in the session itself: products in every framework, and memory.

The denominator of a share of peak is measured rather than taken from a data sheet: a virtual machine may have part of a
processor, a processor changes its clock, and a framework's library may not use all instructions. The best product of
any framework is the machine's peak, as the best of several tries is in STREAM: whatever disturbs only slows down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from backends.contract import SGD, Job, Linear, Model
from backends.hosting.environments import BackendFile
from benchmarks.machine.processors import physical_cores
from benchmarks.spec.flops import step_flops
from benchmarks.spec.initial import initial_parameters
from benchmarks.worker.host import Host, NoHost
from benchmarks.worker.loading import load
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess
from results.record import Run

Part = tuple[NDArray[np.float64], NDArray[np.float64]]

SIZES = (1024, 2048, 4096, 8192)
"""Rows and columns of the matrices, as long as a step is short."""

LONG_STEP = 0.1
"""Seconds; after a size whose step takes longer, there is no larger one."""

TRIES = 5
"""The best of so many counts."""

LONGEST_TRIES = 1.0
"""Seconds; once the tries of a size took so long together, there is no further one."""

COPIED_BYTES = 256 * 2**20
"""Size of each of the two arrays of a copy: STREAM wants four times the last-level cache at least."""


@dataclass(frozen=True)
class ProductPeak:
    """The fastest square product that a backend made, or the reason why there is none (``gflops`` is then None).

    ``size`` is the number of rows and columns, ``gflops`` is in 10^9 floating point operations per second, and
    ``processors`` are the processor seconds per second meanwhile: a product this large keeps every thread busy that
    the framework has. ``reason`` is also there when a larger product failed after this one.
    """

    backend: str
    mode: str
    device: str
    size: int | None = None
    gflops: float | None = None
    processors: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Limits:
    """What the machine can do at most with a number of threads."""

    products: tuple[ProductPeak, ...]
    copy_bytes_per_second: float

    def apply(self, run: Run) -> None:
        """Write into the record what concerns its device and its backend."""
        reached = [peak.gflops for peak in self.products if peak.gflops and peak.device == run.device]
        run.peak_gflops = max(reached, default=None)
        if run.gflops and run.peak_gflops:
            run.share_of_peak = run.gflops / run.peak_gflops
        own = [peak for peak in self.products if peak.backend == run.backend]
        run.product_threads = own[0].processors if own and run.device == "cpu" else None
        run.copy_bytes_per_second = self.copy_bytes_per_second


@dataclass(frozen=True)
class Contestant:
    """A backend whose peak is measured, in its first mode; ``device`` and ``stock`` are as in a cell."""

    backend: BackendFile
    device: str
    launch: Launch
    stock: bool = False
    host: Host | NoHost | None = None
    """What its worker is a copy of, or why there is none; None if it imports the framework itself."""

    @property
    def mode(self) -> str:
        """The mode that is measured."""
        return next(iter(self.backend.modes))


def product_peaks(contestants: Sequence[Contestant], folder: Path) -> list[ProductPeak]:
    """Measure the peak of each backend: start and import together, then multiply one at a time.

    ``folder`` is made, and gets the matrices. Whatever a worker does, it has its entry, in the order given. The
    reference multiplies in float64: its peak is not the machine's.
    """
    folder.mkdir(parents=True)
    # In this order: the pool would wait for imports that hang, if workers were not killed before.
    with ThreadPoolExecutor(len(physical_cores())) as pool, ExitStack() as stack:
        workers: list[WorkerProcess | WorkerError] = []
        for contestant in contestants:
            workers.append(_start(contestant))
            if isinstance(workers[-1], WorkerProcess):
                stack.callback(workers[-1].kill)
        ready = list(pool.map(_import, workers, contestants))
        return [
            ProductPeak(contestant.backend.name, contestant.mode, contestant.device, reason=str(worker))
            if isinstance(worker, WorkerError)
            else _product_peak(worker, contestant, folder)
            for worker, contestant in zip(ready, contestants, strict=True)
        ]


def copy_bandwidth(threads: int) -> float:
    """Return the bytes per second that ``threads`` threads copy from memory to memory, read and written bytes counted.

    This is the copy of STREAM (McCalpin, 1995, "Memory bandwidth and machine balance in current high performance
    computers"), counted in its way: the best of several times, and of each array all bytes once. The threads also touch
    the arrays first, so that on a machine with several memories the pages lie in all of them. Where the caches together
    hold a good part of the arrays, it is not the memory that is measured.
    """
    source, target = (np.empty(COPIED_BYTES // 8) for _ in range(2))
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_touch, parts))
        return 2 * COPIED_BYTES / min(_seconds_to_copy(parts, pool) for _ in range(TRIES))


def _touch(part: Part) -> None:
    for array in part:
        array.fill(1.0)


def _seconds_to_copy(parts: Sequence[Part], pool: ThreadPoolExecutor) -> float:
    begin = time.perf_counter()
    list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))  # NumPy copies without Python's lock
    return time.perf_counter() - begin


def _start(contestant: Contestant) -> WorkerProcess | WorkerError:
    host = contestant.host
    if isinstance(host, NoHost):
        return host.error
    contestant.launch.folder.mkdir(parents=True)
    try:
        return WorkerProcess(contestant.launch, host.process if host else None)
    except WorkerError as error:
        return error


def _import(worker: WorkerProcess | WorkerError, contestant: Contestant) -> WorkerProcess | WorkerError:
    """Import the framework, and stop the worker until it has its turn; return it, or the reason if that fails."""
    if isinstance(worker, WorkerError):
        return worker
    try:
        worker.hello()
        if contestant.host is None:
            worker.ask("import", file=str(contestant.backend.path))
    except WorkerError as error:
        return error
    worker.pause()
    return worker


def _product_peak(worker: WorkerProcess, contestant: Contestant, folder: Path) -> ProductPeak:
    """Multiply larger and larger matrices, and end the worker; the fastest product counts."""
    best = ProductPeak(contestant.backend.name, contestant.mode, contestant.device)
    worker.resume()
    try:
        for size in SIZES:
            files = _write(folder / str(size), size)
            device = _load(worker, contestant, size, files)
            seconds, processors = _fastest_step(worker, size, files)
            gflops = step_flops(_model(size), size) / seconds / 1e9
            if best.gflops is None or gflops > best.gflops:
                best = replace(best, device=device, size=size, gflops=gflops, processors=processors)
            if seconds > LONG_STEP:
                break
    except WorkerError as error:
        best = replace(best, reason=str(error))
    worker.kill()
    return best


def _model(size: int) -> Model:
    """The model whose step on ``size`` samples is two square products: forward, and the gradient of the weights.

    What is of order size^2 is timed as well: the gather of the batch, the bias, the loss and the update.
    """
    return Model((size,), (Linear(size, size),))


def _write(folder: Path, size: int) -> Path:
    """Write what every backend multiplies at this size, unless another one has done so: weights and one batch."""
    if not folder.exists():
        folder.mkdir()
        generator = np.random.default_rng(size)
        np.save(folder / "samples.npy", generator.random((size, size), np.float32) - np.float32(0.5))
        np.save(folder / "batches.npy", np.arange(size).reshape(1, size))
        np.save(folder / "last_batches.npy", np.empty((1, 0), np.int64))
        save_file(initial_parameters(_model(size), generator), folder / "parameters.safetensors")
    return folder


def _load(worker: WorkerProcess, contestant: Contestant, size: int, files: Path) -> str:
    """Load the model on the first of the devices that is available, and return which one that is."""

    def ask(**arguments: Any) -> None:
        # An instance of a backend is loaded once: this makes another one, with the framework already there.
        worker.ask("import", file=str(contestant.backend.path))
        worker.ask("load", **arguments)

    sgd = SGD(learning_rate=1e-3, momentum=0.0, nesterov=False, weight_decay=0.0)
    job = Job(_model(size), "mean-squared-error", sgd, contestant.mode, stock=contestant.stock)
    return load(ask, contestant.backend.candidates(contestant.device), job, files / "parameters.safetensors")


def _fastest_step(worker: WorkerProcess, size: int, files: Path) -> tuple[float, float]:
    """Return the seconds of the fastest step, after one that may compile, and the processors in use in all of them."""
    samples = str(files / "samples.npy")
    worker.ask("put", name="train", features=samples, labels=samples, chunk=size)
    worker.ask("order", batches=str(files / "batches.npy"), last_batches=str(files / "last_batches.npy"))
    worker.ask("train", start=0, steps=1)
    seconds: list[float] = []
    before = worker.cpu_seconds()
    while len(seconds) < TRIES and sum(seconds) < LONGEST_TRIES:
        seconds.append(worker.ask("train", start=0, steps=1).seconds)
    return min(seconds), (worker.cpu_seconds() - before) / sum(seconds)
