"""What a reader sees first: every mode against the baseline, in two or three words, and what that rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from results.record import Say, phase_label
from results.statistics import Ratio

State = Literal["baseline", "faster", "slower", "cannot tell", "one round", "other work", "not ok", "not run"]


@dataclass(frozen=True)
class Field:
    """What one mode is in one comparison: its state, and that in words."""

    state: State
    text: str
    why: str = ""
    """For work that is not equal, the rung of the ladder that did not hold; for a run that ended early, the phase."""

    @property
    def plain(self) -> str:
        """All of it, where there is nothing but text."""
        return f"{self.text} ({self.why})" if self.why else self.text


def of_ratio(ratio: Ratio, say: Say = str) -> Field:
    """The field of a mode that did equal work, by the ratio of its throughput to the baseline's."""
    if math.isnan(ratio.value) or ratio.low <= 1 <= ratio.high:
        return Field("cannot tell", ratio.brief(say))
    if math.isnan(ratio.low):
        return Field("one round", ratio.brief(say))
    return Field("faster" if ratio.value > 1 else "slower", ratio.brief(say))


def left_out(runs: Sequence[Any], say: Say = str) -> Field | None:
    """The field of a mode that no ratio is given of; None for one whose runs are good.

    ``runs`` are rows of its runs: what did other work even once has no place among what is compared.
    """
    for run in runs:
        if run.equal_work is False:
            return Field("other work", say("not equal"), say(run.failed_rung or "cross-checks"))
    if any(run.status == "ok" for run in runs):
        return None
    phase = "" if runs[0].status == "unavailable" else say(phase_label(runs[0].phase))
    return Field("not ok", say(runs[0].status), phase)


def of_row(row: Any, say: Say = str) -> Field:
    """The field of a row of the summary (``tables.summary_table``)."""
    if isinstance(row.left_out, Field):
        return row.left_out
    if row.verdict == "baseline":
        return Field("baseline", say("baseline"))
    return of_ratio(Ratio(row.ratio, row.low, row.high), say)


def not_run(say: Say = str) -> Field:
    """The field of a mode that has no run in a comparison."""
    return Field("not run", say("not run"))


def rests_on(runs: pd.DataFrame, windows: pd.DataFrame, compared: pd.DataFrame, say: Say = str) -> str:
    """What the answer rests on: how many rounds, for how long, and how wide the intervals are.

    ``runs`` and ``windows`` are those of some sessions, ``compared`` is made by ``statistics.compare``.
    """
    rounds = runs.groupby("session")["round"].nunique()
    least, most = rounds.min(), rounds.max()
    pattern = say("{rounds} round of fresh processes") if most == 1 else say("{rounds} rounds of fresh processes")
    parts = [pattern.format(rounds=most if least == most else f"{least}-{most}")]
    seconds = session_seconds(runs, windows)
    if seconds:
        parts[0] += say(" in {time}").format(time=duration(seconds))
    known = compared[compared["low"].notna() & compared["verdict"].ne("baseline")]
    if len(known):
        reach = 100 * (np.sqrt((known["high"] / known["low"]).to_numpy(float)) - 1)
        pattern = say("95 % intervals reach ±{median} % in the median, ±{most} % at most")
        parts.append(pattern.format(median=f"{np.median(reach):.2g}", most=f"{reach.max():,.0f}"))
    return "; ".join(parts)


def session_seconds(runs: pd.DataFrame, windows: pd.DataFrame) -> float:
    """From the start of each session to its last window, added up."""
    ends = (windows["started"] + windows["seconds"]).astype(float).groupby(windows["run"]).max()
    return float(runs["run"].map(ends).groupby(runs["session"]).max().sum())


def duration(seconds: float) -> str:
    """A time to the second, as people tell it: "45 s", "8 min 05 s", "2 h 01 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
