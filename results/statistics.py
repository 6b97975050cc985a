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
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95

TIMES_FROM = 1.1
"""Ratios from here on are told as "1.42x", smaller ones in percent."""


@dataclass(frozen=True)
class Ratio:
    """The throughput of a cell in units of the baseline's, with its interval; NaN where too little is known."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """From one end of the interval to the other, as a share of the ratio."""
        return (self.high - self.low) / self.value

    @property
    def verdict(self) -> str:
        """In words: "1.42x faster (1.38 to 1.47)", "1.3 % slower (0.4 to 2.2)", "cannot tell (0.97 to 1.05)"."""
        if math.isnan(self.value):
            return "cannot tell (nothing to compare)"
        if math.isnan(self.low):
            return "cannot tell (one round has no interval)"
        if self.low <= 1 <= self.high:
            return f"cannot tell ({self.low:.2f} to {self.high:.2f})"
        word = "faster" if self.value > 1 else "slower"
        ends = sorted([self.low, self.high] if self.value > 1 else [1 / self.low, 1 / self.high])
        times = self.value if self.value > 1 else 1 / self.value
        if times >= TIMES_FROM:
            return f"{times:.2f}x {word} ({ends[0]:.2f} to {ends[1]:.2f})"
        shares = sorted(abs(end - 1) * 100 for end in (self.low, self.high))
        return f"{abs(self.value - 1) * 100:.1f} % {word} ({shares[0]:.1f} to {shares[1]:.1f})"


def ratio(log_ratios: NDArray[np.float64]) -> Ratio:
    """Return the ratio of ``[rounds, turns]`` log ratios of throughput; NaN marks turns that do not count."""
    counting = log_ratios[~np.isnan(log_ratios).all(axis=1)]
    rounds = np.nanmedian(counting, axis=1)
    if len(rounds) < 2:
        value = math.exp(rounds[0]) if len(rounds) else math.nan
        return Ratio(value, math.nan, math.nan)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(rounds) - 1) * rounds.std(ddof=1) / math.sqrt(len(rounds))
    return Ratio(*(math.exp(rounds.mean() + offset) for offset in (0.0, -reach, reach)))


def log_ratios(rates: pd.Series, baseline: pd.Series) -> NDArray[np.float64]:
    """Pair throughputs of a cell and of the baseline, both with the index (round, turn): ``[rounds, turns]``."""
    table = (rates / baseline).unstack("turn")
    return np.asarray(np.log(table.to_numpy(np.float64)))


GROUP = ["experiment", "experiment_hash", "device", "threads_asked", "precision_asked"]
"""What cells have to have in common to be compared."""

BASELINE = ("pytorch", "eager")
"""Backend and mode that ratios are taken against where it is there, and where nothing else is asked for."""


def compare(runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str] = BASELINE) -> pd.DataFrame:
    """Compare every cell with the baseline of its group; cells without a run that counts are left out.

    ``runs`` and ``windows`` are the tables of the store. Only runs that are ok and comparable count. Where a group
    lacks the baseline, its first cell takes its place. Returns a row per cell: the columns of ``GROUP``, ``backend``,
    ``mode``, ``baseline``, ``rounds``, ``ratio``, ``low``, ``high``, ``verdict``, and ``note``, which says in which
    effective settings the cell and its baseline differ.
    """
    counting = runs[(runs["status"] == "ok") & runs["comparable"].eq(True)]
    kept = windows[windows["kept"].astype(bool)]
    rates = kept.assign(rate=kept["samples"] / kept["seconds"])[["run", "turn", "rate"]]
    timed = counting.merge(rates, on="run").astype({"turn": int})
    rows = []
    for key, group in timed.groupby(GROUP, sort=False):
        cells = dict(iter(group.groupby(["backend", "mode"], sort=False)))
        against = baseline if baseline in cells else next(iter(cells))
        base = _series(cells[against])
        for name, cell in cells.items():
            pairs = log_ratios(_series(cell), base)
            found = ratio(pairs)
            rows.append(
                {
                    **dict(zip(GROUP, key, strict=True)),
                    "backend": name[0],
                    "mode": name[1],
                    "baseline": f"{against[0]} {against[1]}",
                    "rounds": len(pairs),
                    "ratio": found.value,
                    "low": found.low,
                    "high": found.high,
                    "verdict": "baseline" if name == against else found.verdict,
                    "note": _differences(cell.iloc[0], cells[against].iloc[0]),
                }
            )
    columns = [*GROUP, "backend", "mode", "baseline", "rounds", "ratio", "low", "high", "verdict", "note"]
    return pd.DataFrame(rows, columns=columns)


def _series(cell: pd.DataFrame) -> pd.Series:
    """Throughput by (session, round) and turn."""
    return cell.assign(round=cell["session"] + " " + cell["round"].astype(str)).set_index(["round", "turn"])["rate"]


def _differences(cell: pd.Series, base: pd.Series) -> str:
    """Effective settings in which two runs differ, as far as both backends can tell."""
    return ", ".join(
        f"{name} {cell[name]} against {base[name]}"
        for name in ("precision", "threads")
        if pd.notna(cell[name]) and pd.notna(base[name]) and cell[name] != base[name]
    )
