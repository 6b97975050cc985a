"""What a run's row says of itself: the settings that were in force, its throughput, and where its time went."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.cell.evaluation import Evaluation
from benchmarks.cell.timing import TimedWindows
from benchmarks.worker.conversation import Conversation
from results.record import Phase, Run
from results.steady import steady_from


def read_back(conversation: Conversation, windows: TimedWindows, record: Run) -> None:
    """Keep the versions and settings that are in force."""
    answer = conversation.ask("bookkeeping", "describe").values
    settings = answer["settings"]
    record.threads = settings.get("threads")
    record.precision = settings.get("precision")
    parts = settings.get("compiled")
    record.compiled = None if parts is None else ", ".join(parts)
    record.peak_device_memory_bytes = settings.pop("peak_memory_bytes", None)
    # What the worker says of itself, and what its threads were found to do.
    affinity = answer["affinity"] and sorted({*answer["affinity"], *windows.allowed})
    record.settings = {**settings, "affinity": affinity, "bound_threads": windows.bound_threads}
    record.framework = " ".join(f"{name} {version}" for name, version in settings["versions"].items())


def sum_up(record: Run, windows: TimedWindows, evaluation: Evaluation) -> None:
    """Find the steady part of the timed windows, and take the throughput from it."""
    series = [window for window in record.window_rows if window.kind in ("warm-up", "timed")]
    timed = [window for window in series if window.kind == "timed"]
    if timed:
        begin = steady_from([window.seconds / window.steps for window in series])
        for window in series[begin:]:
            window.kept = window.kind == "timed"
        kept = [window for window in timed if window.kept]
        record.train_samples_per_second = float(np.median([window.samples / window.seconds for window in kept]))
        record.gflops = record.train_samples_per_second / (record.batch_size or 1) * (record.step_flops or 0) / 1e9
        record.cpu_per_wall = windows.cpu_per_wall
    record.predict_samples_per_second = evaluation.samples_per_second


def keep_phases(record: Run, seconds: Mapping[Phase, float]) -> None:
    """Write the seconds of each phase into its column; timed windows before the steady part were warm-up."""
    rejected = sum(row.seconds for row in record.window_rows if row.kind == "timed" and not row.kept)
    for phase, value in seconds.items():
        shift = {"timed": -rejected, "warm_up": rejected}.get(phase, 0.0)
        setattr(record, f"{phase}_seconds", value + shift)
