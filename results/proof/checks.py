"""Cross-checks of one row: a row that contradicts itself is not a result, whatever the ladder says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.record import Run

SLOWEST_AUDIT = 3.0
"""How many times as long as a timed window its audited repetition may take."""

SPARE_PROCESSORS = 0.5
"""By how much the processors in use may exceed those that were asked for: processor time is counted in coarse ticks."""


BUSY_WAITING = 0.4
"""Seconds of processor time that a stopped process may have taken: they are counted in ticks of 0.01 s per turn."""


def contradictions(run: Run, wall_seconds: float, processors: Sequence[int]) -> list[str]:
    """Return in words where the numbers of a run that reached its end contradict each other.

    ``wall_seconds`` is how long its process has lived, ``processors`` are those that it was bound to.
    """
    return [*_counts(run), *_times(run, wall_seconds), *_processors(run, processors)]


def _counts(run: Run) -> list[str]:
    found = []
    training = [window for window in run.window_rows if window.kind == "training"]
    steps = sum(window.steps for window in training)
    planned = (run.epochs or 0) * (run.steps_per_epoch or 0)
    if not steps == len(run.losses) == planned:
        found.append(f"{planned} steps planned, {steps} trained, {len(run.losses)} losses")
    batch = run.batch_size or 0
    for window in run.window_rows:
        short_batch = window.kind == "training" and window.steps == 1 and window.samples < batch
        if window.samples != window.steps * batch and not short_batch:
            found.append(f"a window of {window.steps} steps of {batch} samples counts {window.samples} samples")
    if not np.isfinite(run.losses).all():
        found.append("not all losses are finite")
    return found


def _times(run: Run, wall_seconds: float) -> list[str]:
    found = []
    inside = sum(window.seconds for window in run.window_rows)
    if inside > wall_seconds:
        found.append(f"windows of {inside:.3g} s in a process that lived for {wall_seconds:.3g} s")
    kept = [window for window in run.window_rows if window.kept]
    if not kept:
        return found
    rates = [window.samples / window.seconds for window in kept]
    rate = run.train_samples_per_second or 0.0
    if not min(rates) <= rate <= max(rates):
        found.append(f"{rate:.6g} samples/s from windows of {min(rates):.6g} to {max(rates):.6g} samples/s")
    timed = float(np.median([window.seconds for window in kept]))
    audited = [window.seconds for window in run.window_rows if window.kind == "audit"]
    if audited and min(audited) > SLOWEST_AUDIT * timed:
        found.append(f"timed windows take {timed:.3g} s, the same work under the audit {min(audited):.3g} s")
    return found


def _processors(run: Run, processors: Sequence[int]) -> list[str]:
    found = []
    if (there := run.settings.get("replicas", 1)) != run.replicas:
        found.append(f"{run.replicas} replicas were asked for, and it says that there are {there}")
    used = run.settings.get("affinity")
    if used is not None and not set(used) <= set(processors):
        found.append(f"bound to the processors {list(processors)}, it runs on {used}")
    if run.waiting_cpu_seconds and run.waiting_cpu_seconds > BUSY_WAITING:
        found.append(f"{run.waiting_cpu_seconds:.2f} s of processor time while another one had the turn")
    if run.cpu_per_wall and run.cpu_per_wall > len(processors) + SPARE_PROCESSORS:
        found.append(f"{run.cpu_per_wall:.1f} processors in use where {len(processors)} were asked for")
    return found
