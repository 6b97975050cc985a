"""Turns: the workers of a comparison are timed one window after the other, until their ratios are sure enough.

All workers take the turns that the options ask for, but those whose speed is far from that of every other one take
only a few of them: nobody asks by how much to a percent. Where windows are so noisy that those are not enough to tell a
worker from its baseline, the two go on alternating: what is left of the noise of the turns would otherwise drown a
difference that the rounds could tell.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.cell.run import CellRun
from results.statistics import standard_error

FEW = 6
"""Turns of a worker that is far from all others."""

MOST = 3
"""Times the turns that are asked for are the most that a worker takes."""

LONGEST = 2.5
"""Seconds for which workers go on at most: a round is not to become much longer."""

SURE_ENOUGH = 0.0125
"""Standard error of the log ratio of a round; five rounds with twice as much find a slowdown of 5 % in most trials."""

CLEAR = 0.25
"""Log ratio from which on nobody asks who is faster, however noisy it is."""


def take_turns(runs: Sequence[CellRun], turns: int, baseline: tuple[str, str], seed: int) -> Iterator[int]:
    """Time the workers of a comparison and yield the number of each turn, from 1, when it begins.

    Every turn has a fresh random order, the same whenever it is repeated with the same ``seed``: with fixed or merely
    reversed orders some workers would always come after the same one, or twice in a row. Without the baseline, the
    first of the workers takes its place.
    """
    generator = np.random.default_rng(seed)
    taking = list(runs)
    for turn in range(1, turns + 1):
        if turn == FEW + 1:
            taking = _near(runs)
        if taking:
            yield turn
        _take(taking, turn, generator)
    taking, end = list(runs), time.perf_counter() + LONGEST
    for turn in range(turns + 1, MOST * turns + 1):
        taking = _unsure(taking, baseline)
        if not taking or time.perf_counter() > end:
            return
        yield turn
        _take(taking, turn, generator)


def _take(runs: Sequence[CellRun], turn: int, generator: np.random.Generator) -> None:
    for place in generator.permutation(len(runs)):
        with runs[place].turn():
            runs[place].timed_window(turn)


def _near(runs: Sequence[CellRun]) -> list[CellRun]:
    """Those that are not clearly faster or slower than all others."""
    alive = [run for run in runs if run.alive]
    speeds = [-np.log(np.median(run.step_seconds[:FEW])) for run in alive]
    apart = np.abs(np.subtract.outer(speeds, speeds)) + np.diag(np.full(len(alive), np.inf))
    return [run for run, distances in zip(alive, apart, strict=True) if distances.min() < CLEAR or len(alive) == 1]


def _unsure(runs: Sequence[CellRun], baseline: tuple[str, str]) -> list[CellRun]:
    """Those whose ratio to the baseline is neither clear nor sure enough, and the baseline if there are any."""
    alive = [run for run in runs if run.alive]
    names = [(run.cell.backend.name, run.cell.mode) for run in alive]
    base = names.index(baseline) if baseline in names else 0
    unsure = [run for run in alive if run is not alive[base] and _is_unsure(run, alive[base])]
    return [alive[base], *unsure] if unsure else []


def _is_unsure(run: CellRun, baseline: CellRun) -> bool:
    turns = min(len(run.step_seconds), len(baseline.step_seconds))
    log_ratios = np.log(run.step_seconds[:turns]) - np.log(baseline.step_seconds[:turns])
    return abs(float(np.median(log_ratios))) < CLEAR and standard_error(log_ratios) > SURE_ENOUGH
