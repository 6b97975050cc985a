"""What a reader may not have expected of a session, in words: a few sentences, each by a rule of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.advice import advice
from results.baseline import BASELINE
from results.best import best
from results.metrics import FIRST_STEP, PEAK_MEMORY
from results.payback import written
from results.proof.parting import sentence
from results.record import Say
from results.statistics import GROUP, Ratio
from results.tables import summary_table, titles

MOST = 7
"""Sentences, so that they are read."""

MOST_VERDICTS = 6
"""Comparisons that are told one by one."""

MUCH_MEMORY = 1.5
"""Times the memory of another mode, before it is told."""


@dataclass(frozen=True)
class Highlight:
    """One sentence, and where the report shows what it says."""

    text: str
    group: tuple[Any, ...] | None = None
    """The comparison: its values of ``statistics.GROUP``; None for one that is of the session as a whole."""
    chart: str = ""
    """The chart of ``results.report.charts``, if one shows it."""


@dataclass(frozen=True)
class _Session:
    """What rules look at."""

    runs: pd.DataFrame
    summary: pd.DataFrame
    """Made by ``tables.summary_table``, with ``title`` of the comparison and ``cell``."""
    fastest: pd.DataFrame
    """Made by ``best.best``, with ``title``."""
    say: Say


def highlights(
    runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str] = BASELINE, say: Say = str
) -> list[Highlight]:
    """Return at most ``MOST`` sentences, what casts doubt first; ``runs`` and ``windows`` are tables of the store."""
    summary = summary_table(runs, windows, baseline)
    firsts = runs.drop_duplicates(GROUP)
    named = firsts[GROUP].assign(title=titles(firsts))
    fastest = best(runs, windows, baseline).merge(named, on=GROUP)
    summary = summary.assign(cell=summary["backend"] + " " + summary["mode"]).merge(named, on=GROUP)
    session = _Session(runs, summary, fastest, say)
    return [highlight for rule in RULES for highlight in rule(session)][:MOST]


def _left_out(session: _Session) -> Iterator[Highlight]:
    """What did other work, or did not finish, is in no ratio."""
    say = session.say
    out = session.summary[session.summary["left_out"].notna()]
    for state, pattern in (
        ("other work", say("{cell} did other work on {title} (rung: {why}), and is in no ratio")),
        ("not ok", say("{cell} on {title}: {status}{why}")),
    ):
        own = out[[field.state == state for field in out["left_out"]]]
        if own.empty:
            continue
        first = own.iloc[0]
        field = first["left_out"]
        why = f" ({say(field.why)})" if state == "not ok" and field.why else say(field.why)
        text = pattern.format(cell=first["cell"], title=first["title"], status=say(field.text), why=why)
        more = say("; {number} more like it") if len(own) > 1 else ""
        yield Highlight(text + more.format(number=len(own) - 1), _group(first), "distance-from-reference")


def _at_their_best(session: _Session) -> Iterator[Highlight]:
    """Each framework at its best against the baseline's: the verdict that people ask for first."""
    pattern = session.say("at their best, {backend} against {base}: {verdicts}")
    for (backend, base), own in session.fastest.groupby(["backend", "baseline_backend"], sort=False):
        told = own.dropna(subset=["low"])  # of one round there are no others to choose a mode on
        if len(told):
            most = _most(told.assign(distance=np.abs(np.log(told["ratio"].to_numpy(float)))), "distance")
            text = pattern.format(backend=backend, base=base, verdicts=_verdicts(told, session.say))
            yield Highlight(text, _group(most), "speed")


def _verdicts(rows: pd.DataFrame, say: Say) -> str:
    """The verdict of each comparison, or if they are many, how many are of a kind."""
    if len(rows) > MOST_VERDICTS:
        faster, slower = int((rows["low"] > 1).sum()), int((rows["high"] < 1).sum())
        pattern = say("faster on {faster}, slower on {slower}, cannot tell on {rest} of {all} comparisons")
        return pattern.format(faster=faster, slower=slower, rest=len(rows) - faster - slower, all=len(rows))
    by_verdict: dict[str, list[str]] = {}
    for _, row in rows.iterrows():
        by_verdict.setdefault(_ratio(row).brief(say), []).append(row["title"])
    on = say("{verdict} on {titles}")
    return "; ".join(on.format(verdict=verdict, titles=", ".join(names)) for verdict, names in by_verdict.items())


def _turn(session: _Session) -> Iterator[Highlight]:
    """A mode that is faster than the baseline in one experiment, and slower in another."""
    sure = _sure(session.summary)
    ends = sure.groupby("cell")["ratio"].agg(["min", "max"]).reset_index()
    ends = ends.assign(reach=ends["max"] / ends["min"])[(ends["min"] < 1) & (ends["max"] > 1)]
    if len(ends):
        cell = _most(ends, "reach")["cell"]
        own = sure[sure["cell"] == cell]
        high, low = _most(own, "ratio"), _most(own.assign(less=-own["ratio"]), "less")
        pattern = session.say("it depends: {cell} is {faster} than {base} on {title}, and {slower} on {other}")
        text = pattern.format(
            cell=cell,
            faster=_ratio(high).brief(session.say),
            base=f"{high['baseline_backend']} {high['baseline_mode']}",
            title=high["title"],
            slower=_ratio(low).brief(session.say),
            other=low["title"],
        )
        yield Highlight(text, _group(low), "speed")


def _never_pays(session: _Session) -> Iterator[Highlight]:
    """A mode that costs more to start, and is slower too."""
    eager = session.runs.loc[session.runs["compiled"].eq(""), ["backend", "mode"]].drop_duplicates().assign(eager=True)
    never = session.summary[np.isinf(session.summary["paid_epochs"].astype(float))].merge(eager, how="left")
    never = never[never["eager"].isna()]
    if len(never):
        row = _most(never.assign(slower=1 / never["times"].astype(float)), "slower")
        pattern = session.say("{cell} is {slower} than {cheapest} on {title}: what it compiles is never paid back")
        less = Ratio(row["times"], row["times"], row["times"]).brief(session.say)
        cheapest = f"{row['backend']} {row['cheapest']}"
        text = pattern.format(cell=row["cell"], cheapest=cheapest, slower=less, title=row["title"])
        yield Highlight(text, _group(row), "cost")


def _pays_late(session: _Session) -> Iterator[Highlight]:
    """A mode that is faster, but only in a training much longer than this one."""
    summary = session.summary
    paid = summary[np.isfinite(summary["paid_epochs"].astype(float))]
    late = paid[paid["paid_epochs"].astype(float) > paid["epochs"].astype(float)]
    if len(late):
        row = _most(late, "paid_epochs")
        pattern = session.say(
            "{cell} takes {seconds} s to compile on {title}, paid back after {epochs}, against {cheapest}"
        )
        text = pattern.format(
            cell=row["cell"],
            seconds=FIRST_STEP.written(row[FIRST_STEP.column]),
            title=row["title"],
            epochs=written(row["paid_epochs"], row["paid_epochs_warm"], session.say),
            cheapest=row["cheapest"],
        )
        yield Highlight(text, _group(row), "cost")


def _memory(session: _Session) -> Iterator[Highlight]:
    """The mode that takes most memory beside the one that takes least."""
    known = session.summary.dropna(subset=[PEAK_MEMORY.column])
    spread = known.groupby(GROUP, sort=False, dropna=False)[PEAK_MEMORY.column].agg(lambda own: own.max() / own.min())
    if len(spread) and spread.max() >= MUCH_MEMORY:
        own = known.merge(spread[spread == spread.max()].head(1).rename("spread").reset_index(), on=GROUP)
        most = _most(own, PEAK_MEMORY.column)
        least = _most(own.assign(less=-own[PEAK_MEMORY.column]), "less")
        pattern = session.say("memory: {most} takes {more} MiB on {title}, {least} {less} MiB")
        more, less = (PEAK_MEMORY.written(row[PEAK_MEMORY.column]) for row in (most, least))
        text = pattern.format(most=most["cell"], more=more, title=most["title"], least=least["cell"], less=less)
        yield Highlight(text, _group(most))


def _settings(session: _Session) -> Iterator[Highlight]:
    """A mode that ran with other settings than the baseline."""
    differing = session.summary[session.summary["note"].fillna("") != ""]
    if len(differing):
        row = differing.iloc[0]
        pattern = session.say("{cell} ran with other settings than {base}: {note}")
        base = f"{row['baseline_backend']} {row['baseline_mode']}"
        yield Highlight(pattern.format(cell=row["cell"], base=base, note=row["note"]), _group(row))


def _parted(session: _Session) -> Iterator[Highlight]:
    """A curve that leaves the reference's, within what rounding explains."""
    parted = session.runs[session.runs["parting"].map(bool).astype(bool)]
    if len(parted):
        run = parted.iloc[0]
        pattern = session.say("equal work within rounding, but {cell} on {title} {what}")
        what = sentence(run["parting"], session.say)
        text = pattern.format(cell=f"{run['backend']} {run['mode']}", title=titles(parted.head(1))[0], what=what)
        yield Highlight(text, _group(run), "distance-from-reference")


def _noise(session: _Session) -> Iterator[Highlight]:
    """What disturbed the session."""
    for text in advice(session.runs, session.say)[:1]:
        yield Highlight(session.say("noise: {what}").format(what=text), None, "windows")


RULES: tuple[Callable[[_Session], Iterator[Highlight]], ...] = (
    *(_left_out, _at_their_best, _turn, _never_pays, _pays_late, _settings, _parted, _memory, _noise),
)
"""In the order in which they are told."""


def _sure(compared: pd.DataFrame) -> pd.DataFrame:
    """Comparisons whose interval does not hold 1, with the ``distance`` of their ratio from 1, whichever way."""
    sure = compared[(compared["low"] > 1) | (compared["high"] < 1)]
    return sure.assign(distance=sure["ratio"].map(lambda ratio: abs(math.log(ratio)))).reset_index(drop=True)


def _most(table: pd.DataFrame, column: str) -> pd.Series:
    """The row with the largest value in a column."""
    return table.iloc[int(table[column].to_numpy(float).argmax())]


def _ratio(row: pd.Series) -> Ratio:
    return Ratio(row["ratio"], row["low"], row["high"])


def _group(row: pd.Series) -> tuple[Any, ...]:
    return tuple(row[GROUP])
