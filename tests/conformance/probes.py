"""What is asked of processes besides taking an example to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.worker.process import WorkerError, WorkerProcess
from tests.conformance.cases import Files
from tests.conformance.measuring import Threads, Timing, thread_seconds
from tests.conformance.recording import Target, expect_losses, load, order, put, worker

WINDOW_SECONDS = 0.15
"""Training time of a timed window, at least."""

WARM_UPS = 3
"""Windows of each length before it is timed: a compiler may compile twice."""

LONGEST_TIMING = 15.0
"""Seconds; others use the machine too, so it is tried again until the best figures are right, or for so long."""

THREADS_SECONDS = 0.3
"""How long a window is in which processor time is counted: in steps of 0.01 s."""

THREADS_STEPS = 4
"""Steps of its calls."""

THREADS_WINDOWS = 3


def probe_gpu(target: Target, files: Files, folder: Path) -> tuple[str, str]:
    """Load on a GPU, then on the CPU if there was none, as ``--device auto`` does; return a status and the reason."""
    status, reason = "loaded", ""
    try:
        with worker(target, folder) as process:
            try:
                load(process, files, target, "gpu")
            except WorkerError as error:
                status, reason = error.status, str(error)
                if status == "unavailable" and target.device == "cpu":
                    load(process, files, target, "cpu")
    except WorkerError as error:
        return "failed", str(error)
    return status, reason


def outputs_of(target: Target, files: Mapping[str, Files], folder: Path) -> dict[str, NDArray[np.float32] | None]:
    """The outputs of some models before training, in one process, one after the other; None where one fails.

    Another instance of the backend for each, as where the machine's peak is measured.
    """
    outputs: dict[str, NDArray[np.float32] | None] = dict.fromkeys(files)
    try:
        with worker(target, folder) as process:
            for number, (name, own) in enumerate(files.items()):
                if number:
                    process.ask("import", file=str(target.file))
                try:
                    load(process, own, target, target.device)
                    put(process, own, "test", len(own.case.judged_features))
                    (outputs[name],) = process.ask("predict", name="test").arrays
                except WorkerError:
                    continue  # the rungs of the examples say why
    except WorkerError:
        pass
    return outputs


def count_threads(process: WorkerProcess, target: Target, files: Files) -> Threads:
    """Have another instance train large products in a process that has done its own work; raises WorkerError."""
    process.ask("import", file=str(target.file))
    load(process, files, target, target.device)
    put(process, files, "train", len(files.case.features))
    order(process, files)
    for _ in range(2):
        process.ask("train", start=0, steps=THREADS_STEPS)
    threads = Threads(len(target.processors), process.ask("describe").values["settings"].get("threads"), 0.0, 1.0)
    for _ in range(THREADS_WINDOWS):
        before, begin = thread_seconds(process.pid), time.perf_counter()
        while (seconds := time.perf_counter() - begin) < THREADS_SECONDS:
            process.ask("train", start=0, steps=THREADS_STEPS)
        took = [after - before.get(thread, 0.0) for thread, after in thread_seconds(process.pid).items()]
        total, most = sum(took), max(took)
        threads = replace(
            threads, busy=max(threads.busy, total / seconds), spread=max(threads.spread, total / most if most else 1.0)
        )
    return threads


def time_windows(target: Target, files: Files, folder: Path) -> Timing:
    """Time windows of N and 2N steps; nothing else should run meanwhile.

    Raises WorkerError as the worker does, or if a window comes back with other losses than one for each step.
    """
    with worker(target, folder) as process:
        load(process, files, target, target.device)
        put(process, files, "train", len(files.case.features))
        order(process, files)
        steps = 1
        while (seconds := min(sum(_window(process, steps)) for _ in range(WARM_UPS))) < WINDOW_SECONDS:
            steps = max(2 * steps, min(int(1.2 * WINDOW_SECONDS / seconds * steps), 16 * steps))
        for _ in range(WARM_UPS):
            _window(process, 2 * steps)
        timing = Timing(steps, np.inf, np.inf, np.inf)
        begin = time.perf_counter()
        while not (np.isfinite(timing.window) and timing.waits) and time.perf_counter() - begin < LONGEST_TIMING:
            window, wait = _window(process, steps)
            again = process.ask("parameters").seconds
            double_window, _ = _window(process, 2 * steps)
            timing.window = min(timing.window, window)
            timing.double_window = min(timing.double_window, double_window)
            timing.wait = min(timing.wait, wait - again)
        return timing


def _window(process: WorkerProcess, steps: int) -> tuple[float, float]:
    """Train and synchronize, then ask for the parameters, which has to wait if ``synchronize`` has not."""
    answer = process.ask("train", start=0, steps=steps)
    expect_losses(answer, steps)
    return answer.seconds, process.ask("parameters").seconds
