"""How fast each cell is against a baseline, how sure that is, and the verdict in words.

Machines drift by tens of percent within seconds, so ratios are taken within a turn, a fraction of a second apart. The
median over the turns of a round is one number for one pair of processes; a process keeps its luck (addresses, pages,
threads' places) for as long as it lives, so only fresh processes, one pair for each round, tell how much that matters.
The interval is therefore Student's t over the rounds: both levels are in it, because what is left of the noise of the
turns is part of the difference between rounds (Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013,
for the levels; Georges, Buytaert and Eeckhout, "Statistically rigorous Java performance evaluation", 2007, for t).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.baseline import BASELINE
from results.record import Say

CONFIDENCE = 0.95

TIMES_FROM = 1.1
"""Ratios from here on are told as "1.42x", smaller ones in percent."""

WITHOUT_INTERVAL = " *"
"""Ends a figure of one round."""

FOOTNOTE = "* of one round, so without an interval: how sure it is, nobody can tell; more rounds (--repeats) can"


@dataclass(frozen=True)
class Ratio:
    """The throughput of a cell in units of the baseline's, with its interval; NaN where too little is known."""

    value: float
    low: float
    high: float

    @property
    def log(self) -> float:
        """The natural logarithm."""
        return math.log(self.value)

    @property
    def width(self) -> float:
        """From one end of the interval to the other, as a share of the ratio."""
        return (self.high - self.low) / self.value

    def verdict(self, say: Say = str) -> str:
        """In words: "1.42x faster (1.38 to 1.47)", "1.3 % slower (0.4 to 2.2)", "cannot tell (0.97 to 1.05)".

        Of one round it has a mark in the place of its interval: "1.42x faster *". ``say`` translates patterns.
        """
        if math.isnan(self.value):
            return say("cannot tell (nothing to compare)")
        if math.isnan(self.low):
            return self._words(say, "{:.2f}", "{:.1f}") + WITHOUT_INTERVAL
        if self.low <= 1 <= self.high:
            return say("cannot tell ({low} to {high})").format(low=f"{self.low:.2f}", high=f"{self.high:.2f}")
        ends = sorted([self.low, self.high] if self.value > 1 else [1 / self.low, 1 / self.high])
        low, high = (f"{end:.2f}" for end in ends)
        if not self._in_times:
            low, high = (f"{share:.1f}" for share in sorted(abs(end - 1) * 100 for end in (self.low, self.high)))
        return self._words(say, "{:.2f}", "{:.1f}") + say(" ({low} to {high})").format(low=low, high=high)

    def brief(self, say: Say = str) -> str:
        """The same without the interval, and with no more digits than a glance takes in: "1.4x faster"."""
        if math.isnan(self.value) or self.low <= 1 <= self.high:
            return say("cannot tell")
        times = "{:.1f}" if max(self.value, 1 / self.value) < 9.95 else "{:,.0f}"
        return self._words(say, times, "{:.0f}") + (WITHOUT_INTERVAL if math.isnan(self.low) else "")

    @property
    def _in_times(self) -> bool:
        return max(self.value, 1 / self.value) >= TIMES_FROM

    def _words(self, say: Say, times: str, share: str) -> str:
        """How much faster or slower, in the given formats."""
        faster = self.value > 1
        if self._in_times:
            pattern = say("{times}x faster") if faster else say("{times}x slower")
            return pattern.format(times=times.format(self.value if faster else 1 / self.value))
        pattern = say("{share} % faster") if faster else say("{share} % slower")
        return pattern.format(share=share.format(abs(self.value - 1) * 100))


def ratio(log_ratios: NDArray[np.float64]) -> Ratio:
    """Return the ratio of ``[rounds, turns]`` log ratios of throughput; NaN marks turns that do not count."""
    rounds = round_medians(log_ratios)
    if len(rounds) < 2:
        value = math.exp(rounds[0]) if len(rounds) else math.nan
        return Ratio(value, math.nan, math.nan)
    reach = _quantile(len(rounds) - 1) * rounds.std(ddof=1) / math.sqrt(len(rounds))
    return Ratio(*(math.exp(rounds.mean() + offset) for offset in (0.0, -reach, reach)))


def round_medians(log_ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median over the turns of each round in which any turn counts."""
    counting = log_ratios[~np.isnan(log_ratios).all(axis=1)]
    median = np.nanmedian if np.isnan(counting).any() else np.median  # which is ten times as fast
    rounds: NDArray[np.float64] = median(counting, axis=1)
    return rounds


def standard_error(values: NDArray[np.float64]) -> float:
    """Return the standard error of the median of some values, as for normal ones with a few outliers among them.

    sqrt(pi / (2 n)) times the standard deviation, which is taken as 1.4826 times the median absolute deviation
    (Huber and Ronchetti, "Robust Statistics", 2009, chapters 1 and 5).
    """
    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
    return float(deviation * math.sqrt(math.pi / (2 * len(values))))


def turns_error(log_ratios: NDArray[np.float64]) -> float:
    """Return what the turns leave open of a round's log ratio: its standard error, the median over the rounds.

    ``log_ratios`` are ``[rounds, turns]``, NaN where a turn does not count; NaN if there is no round.
    """
    rounds = [turns[~np.isnan(turns)] for turns in log_ratios]
    errors = [standard_error(turns) for turns in rounds if len(turns)]
    return float(np.median(errors)) if errors else math.nan


@cache
def _quantile(degrees_of_freedom: int) -> float:
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, without the seconds that its import takes

    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))


GROUP = ["experiment", "experiment_hash", "device", "threads_asked", "precision_asked", "replicas", "stock", "node"]
"""What cells have to have in common to be compared; machines of a cluster are never mixed."""

_OLDER: dict[str, Any] = {"node": "", "replicas": 1, "stock": False}
"""What was recorded before these were columns ran on one machine, trained one replica, and was tuned."""

COMPARED = [
    *(*GROUP, "backend", "mode", "baseline_backend", "baseline_mode", "rounds"),
    *("ratio", "low", "high", "by_round", "turns_error", "verdict", "note"),
]
"""Columns of a comparison."""


def compare(
    runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str] = BASELINE, errors: bool = False
) -> pd.DataFrame:
    """Compare every cell with the baseline of its group; cells without a run that counts are left out.

    ``runs`` and ``windows`` are the tables of the store. Only runs that are ok and did equal work count. Where a group
    lacks the baseline, its first cell takes its place. Returns a row per cell: the columns of ``GROUP``, ``backend``,
    ``mode``, ``baseline_backend``, ``baseline_mode``, ``rounds``, ``ratio``, ``low``, ``high``, ``by_round`` (the ratio
    of each round, a list), ``turns_error`` (NaN unless ``errors`` are asked for), ``verdict``, and ``note``, which says
    in which effective settings the cell and its baseline differ.
    """
    rows: list[dict[str, Any]] = []
    for group in groups(runs, windows):
        rows += group.against(group.cells.index(baseline) if baseline in group.cells else 0, errors)
    return pd.DataFrame(rows, columns=COMPARED)


def compare_all(runs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """The same with every cell of a group as the baseline in turn."""
    rows: list[dict[str, Any]] = []
    for group in groups(runs, windows):
        for against in range(len(group.cells)):
            rows += group.against(against)
    return pd.DataFrame(rows, columns=COMPARED)


def throughputs(runs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """The throughput of every cell with its interval, in samples per second, made as the ratios are.

    Returns a row per cell: the columns of ``GROUP``, ``backend``, ``mode``, ``samples_per_second``, ``low``, ``high``.
    """
    rows = []
    for group in groups(runs, windows):
        for name, logs in zip(group.cells, group.logs, strict=True):
            found = ratio(logs)
            rows.append((*group.key, *name, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=[*GROUP, "backend", "mode", "samples_per_second", "low", "high"])


@dataclass(frozen=True)
class Group:
    """The cells of one comparison."""

    key: tuple[Any, ...]
    cells: list[tuple[str, str]]
    """Backend and mode of each."""
    logs: NDArray[np.float64]
    """Log of the throughput ``[cells, rounds, turns]``, NaN where no window counts."""
    settings: list[dict[Hashable, Any]]
    """Effective settings of each cell."""

    def against(self, baseline: int, errors: bool = False) -> list[dict[str, Any]]:
        """Compare every cell with one of them: the rows of ``compare``."""
        rows = []
        for name, logs, settings in zip(self.cells, self.logs, self.settings, strict=True):
            log_ratios = logs - self.logs[baseline]
            found = ratio(log_ratios)
            rounds = int((~np.isnan(log_ratios)).any(axis=1).sum())
            verdict = "baseline" if name == self.cells[baseline] else found.verdict()
            note = _differences(settings, self.settings[baseline])
            values = (*self.key, *name, *self.cells[baseline], rounds, found.value, found.low, found.high)
            by_round = np.exp(round_medians(log_ratios)).tolist()
            error = turns_error(log_ratios) if errors else math.nan
            rows.append(dict(zip(COMPARED, (*values, by_round, error, verdict, note), strict=True)))
        return rows


_latest: tuple[pd.DataFrame, pd.DataFrame, list[Group]] | None = None


def groups(runs: pd.DataFrame, windows: pd.DataFrame) -> list[Group]:
    """The windows that count, by comparison; a round is one of a session, and of workers that took turns.

    They are made once of the same two tables: a page asks for them again and again.
    """
    global _latest
    if _latest is None or _latest[0] is not runs or _latest[1] is not windows:
        _latest = runs, windows, list(_groups(runs, windows))
    return _latest[2]


def _groups(runs: pd.DataFrame, windows: pd.DataFrame) -> Iterator[Group]:
    runs = runs.assign(**{name: value for name, value in _OLDER.items() if name not in runs})
    # A few columns are cut faster than all.
    columns = ["run", "session", "round", "comparison", *GROUP, "backend", "mode", "precision", "threads"]
    counting = runs.loc[(runs["status"] == "ok") & runs["equal_work"].eq(True), columns]
    # A session in which some run could not tell its threads has them as floats.
    counting = counting.astype({"threads": "Int64"})
    kept = windows[windows["kept"].astype(bool)]
    logs = kept.assign(log_rate=np.log((kept["samples"] / kept["seconds"]).astype(float)))[["run", "turn", "log_rate"]]
    timed = counting.merge(logs, on="run").astype({"turn": int, "backend": object, "mode": object})
    timed["round"], _ = pd.factorize(timed["session"] + " " + timed["round"].astype(str) + " " + timed["comparison"])
    for key, group in timed.groupby(GROUP, sort=False):
        names = list(zip(group["backend"], group["mode"], strict=True))
        cells = list(dict.fromkeys(names))
        number = {name: place for place, name in enumerate(cells)}
        places = np.array([number[name] for name in names])
        _, rounds = np.unique(group["round"], return_inverse=True)
        _, turns = np.unique(group["turn"], return_inverse=True)
        array = np.full((len(cells), rounds.max() + 1, turns.max() + 1), np.nan)
        array[places, rounds, turns] = group["log_rate"]
        firsts = group.iloc[[names.index(cell) for cell in cells]]
        yield Group(key, cells, array, firsts[["precision", "threads"]].to_dict("records"))


def _differences(cell: dict[Hashable, Any], base: dict[Hashable, Any]) -> str:
    """Effective settings in which two cells differ, as far as both backends can tell."""
    return ", ".join(
        f"{name} {cell[name]} against {base[name]}"
        for name in cell
        if pd.notna(cell[name]) and pd.notna(base[name]) and cell[name] != base[name]
    )
