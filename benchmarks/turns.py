"""Turns: the workers of a comparison are timed one window after the other, until their ratios are sure enough.

All workers take the turns that the options ask for. Where windows are so noisy that those are not enough, the worker
and its baseline go on alternating: what is left of the noise of the turns would otherwise drown a difference that the
rounds could tell. Whether to go on depends on the spread of a ratio only, not on the ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.cell_run import CellRun
from results.statistics import standard_error

MOST = 5
"""Times the turns that are asked for are the most that a worker takes."""

SURE_ENOUGH = 0.0125
"""Standard error of the log ratio of a round; five rounds with twice as much find a slowdown of 5 % in most trials."""


def take_turns(runs: Sequence[CellRun], turns: int, baseline: tuple[str, str], seed: int) -> Iterator[int]:
    """Time the workers of a comparison and yield the number of each turn, from 1, when it begins.

    Every turn has a fresh random order, the same whenever it is repeated with the same ``seed``: with fixed or merely
    reversed orders some workers would always come after the same one, or twice in a row. Without the baseline, the
    first of the workers takes its place.
    """
    generator = np.random.default_rng(seed)
    taking = list(runs)
    for turn in range(1, MOST * turns + 1):
        if turn > turns:
            taking = _unsure(taking, baseline)
            if not taking:
                return
        yield turn
        for place in generator.permutation(len(taking)):
            with taking[place].turn():
                taking[place].timed_window(turn)


def _unsure(runs: Sequence[CellRun], baseline: tuple[str, str]) -> list[CellRun]:
    """Those whose ratio to the baseline is not sure enough, and the baseline if there are any."""
    alive = [run for run in runs if run.alive]
    names = [(run.cell.backend.name, run.cell.mode) for run in alive]
    base = names.index(baseline) if baseline in names else 0
    unsure = [run for run in alive if run is not alive[base] and _error(run, alive[base]) > SURE_ENOUGH]
    return [alive[base], *unsure] if unsure else []


def _error(run: CellRun, baseline: CellRun) -> float:
    return standard_error(np.log(run.timed_seconds) - np.log(baseline.timed_seconds))
