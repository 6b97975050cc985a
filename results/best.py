"""Each framework at its best: its fastest mode against the fastest mode of the baseline's framework.

The fastest of several modes is partly the luckiest, so the mode is chosen on other rounds than those that give its
figure: in each round, the one that was fastest in all the other rounds. This is cross-validation that leaves one round
out (Stone, "Cross-validatory choice and assessment of statistical predictions", 1974; Cawley and Talbot, "On
over-fitting in model selection and subsequent selection bias in performance evaluation", 2010, for the bias).

The rounds' figures are then not independent: among equal modes, a round in which one is fast makes the others choose
it, and is itself left to the rest. Student's t knows nothing of that, and calls equals different too often, as it does
with the one mode that is fastest in all rounds, if there are many modes. But the two err on different occasions. So
the interval reaches over both; where every round chooses the same mode they are the same (``nox -s calibrate`` shows
how often it is wrong).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.baseline import BASELINE
from results.statistics import GROUP, Group, Ratio, groups, ratio

BEST = [
    *(*GROUP, "backend", "mode", "baseline_backend", "baseline_mode"),
    *("ratio", "low", "high", "verdict"),
]
"""Columns of a comparison of frameworks at their best."""


Choices = tuple[NDArray[np.intp], int]
"""What ``choices`` returns."""


def best(runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str] = BASELINE) -> pd.DataFrame:
    """Compare every backend at its best with the baseline's backend at its best, which itself has no row.

    ``runs``, ``windows`` and what counts of them are as in ``statistics.compare``. Where a group lacks the baseline's
    backend, its first one takes its place. Returns the columns of ``BEST``; ``mode`` and ``baseline_mode`` read "jit or
    scan" if not all rounds choose the same. With one round there is no interval (NaN).
    """
    rows: list[tuple[Any, ...]] = []
    for group in groups(runs, windows):
        backends = _backends(group)
        rows += _against(group, baseline[0] if baseline[0] in backends else backends[0])
    return pd.DataFrame(rows, columns=BEST)


def best_all(runs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """The same with every backend of a group as the baseline in turn."""
    rows: list[tuple[Any, ...]] = []
    for group in groups(runs, windows):
        for against in _backends(group):
            rows += _against(group, against)
    return pd.DataFrame(rows, columns=BEST)


def _against(group: Group, baseline: str) -> list[tuple[Any, ...]]:
    """Compare every other backend of a group with one of them: the rows of ``best``."""
    rows = []
    names, theirs = _modes(group, baseline)
    their_choices = choices(theirs)
    for backend in _backends(group):
        if backend != baseline:
            modes, ours = _modes(group, backend)
            chosen = choices(ours)
            found = _ratio(ours, theirs, chosen, their_choices)
            told = (backend, _name(modes, *chosen), baseline, _name(names, *their_choices))
            rows.append((*group.key, *told, found.value, found.low, found.high, found.verdict()))
    return rows


def _backends(group: Group) -> list[str]:
    return list(dict.fromkeys(backend for backend, _ in group.cells))


def at_their_best(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Ratio:
    """Return the ratio of two frameworks, each at its best.

    Both are log throughputs ``[modes, rounds, turns]`` of the same rounds and turns, NaN where no window counts. A
    round in which a mode that it chooses is missing does not count.
    """
    return _ratio(ours, theirs, choices(ours), choices(theirs))


def _ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64], our: Choices, their: Choices) -> Ratio:
    (our_choice, our_best), (their_choice, their_best) = our, their
    rounds = np.arange(ours.shape[1])
    found = ratio(ours[our_choice, rounds] - theirs[their_choice, rounds])
    overall = ratio(ours[our_best] - theirs[their_best])
    return Ratio(found.value, float(np.minimum(found.low, overall.low)), float(np.maximum(found.high, overall.high)))


def choices(logs: NDArray[np.float64]) -> Choices:
    """Return the fastest mode by the other rounds, for each round ``[rounds]``, and the fastest by all rounds.

    ``logs`` are ``[modes, rounds, turns]``. Modes are compared by the mean over rounds of their log ratio, the median
    over turns, to the mode that ran in most rounds: within turns, and rounds that both share, drift cancels.
    """
    reference = (~np.isnan(logs).all(axis=2)).sum(axis=1).argmax()
    ahead = _round_medians(logs - logs[reference])
    known = ~np.isnan(ahead)
    number, total = known.sum(axis=1, keepdims=True), np.nansum(ahead, axis=1, keepdims=True)
    fastest = int(_mean(total, number).argmax())
    others = _mean(total - np.nan_to_num(ahead), number - known)
    # A round without others has nothing else to go by, and gives no interval either.
    return np.where(np.isneginf(others).all(axis=0), fastest, others.argmax(axis=0)), fastest


def _round_medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median over the turns ``[modes, rounds]``, NaN where none counts."""
    there = ~np.isnan(values).all(axis=2)
    medians = np.full(there.shape, np.nan)
    medians[there] = np.nanmedian(values[there], axis=1)
    return medians


def _mean(total: NDArray[np.float64], number: NDArray[np.intp]) -> NDArray[np.float64]:
    """The mean, minus infinity where there is nothing: what did not run is not chosen."""
    return np.where(number > 0, total / np.maximum(number, 1), -np.inf)


def _modes(group: Group, backend: str) -> tuple[list[str], NDArray[np.float64]]:
    """The modes of a backend, and their log throughputs ``[modes, rounds, turns]``."""
    own = [place for place, (name, _) in enumerate(group.cells) if name == backend]
    return [group.cells[place][1] for place in own], group.logs[own]


def _name(modes: list[str], chosen: NDArray[np.intp], fastest: int) -> str:
    return " or ".join(modes[place] for place in dict.fromkeys([fastest, *chosen.tolist()]))
