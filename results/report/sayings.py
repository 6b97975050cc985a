"""What charts of a comparison show, said: curves that lie on each other, where they part, who is there first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from results.metrics import TEST_ACCURACY
from results.proof.parting import sentence
from results.record import Say
from results.report.panels import Results

SPREAD = 1e-3
"""Of the range of a curve: what is closer than that cannot be told apart in a chart."""

Sayings = dict[int, dict[str, str]]
"""By panel and chart."""


def sayings(results: Results, tables: dict[str, pd.DataFrame], say: Say = str) -> Sayings:
    """Return what is said of charts; ``tables`` are those that they are drawn from."""
    found: Sayings = {}
    steps, epochs = tables["steps"], tables["epochs"]
    for chart, table, x, y in (
        ("training-loss", steps, "step", "loss"),
        ("accuracy-by-epoch", epochs, "epoch", "test_accuracy"),
        ("loss-by-epoch", epochs, "epoch", "test_loss"),
    ):
        for own_panel, text in _together(table.dropna(subset=[y]), x, y, say):
            found.setdefault(own_panel, {})[chart] = text
    for panel, own in results.runs.groupby("panel"):
        found.setdefault(int(str(panel)), {})["distance-from-reference"] = _partings(own, say)
    for panel, own in epochs.dropna(subset=["test_accuracy"]).groupby("panel"):
        if own["cell"].nunique() > 1:
            found.setdefault(int(str(panel)), {})["accuracy-by-time"] = _first_there(own, say)
    return found


def _together(table: pd.DataFrame, x: str, y: str, say: Say) -> Iterator[tuple[int, str]]:
    """By panel: how far its curves are from each other at most, and whether that can be seen."""
    points = table.astype({y: float}).groupby(["panel", x])[y].agg(["min", "max"])
    points["apart"] = points["max"] - points["min"]
    panels = points.groupby("panel").agg({"min": "min", "max": "max", "apart": "max"})
    panels["number"] = table.groupby("panel")["cell"].nunique()
    row: Any
    for row in panels[panels["number"] > 1].itertuples():
        size = f"{row.apart:.1e}"
        if not row.apart:
            size = "0"
        elif y == TEST_ACCURACY.column:
            size = say("{apart:.2g} points").format(apart=100 * row.apart)
        together = say("All {number} modes lie on each other, within {size}.")
        apart = say("The {number} modes are up to {size} apart.")
        pattern = together if row.apart <= SPREAD * (row.max - row.min) else apart
        yield row.Index, pattern.format(number=row.number, size=size)


def _partings(own: pd.DataFrame, say: Say) -> str:
    """Which curves part from the reference's, each as often as it was found."""
    parted = own[own["parting"].map(bool)].drop_duplicates(["backend", "mode"])
    if parted.empty:
        return say("No curve parts from the reference's.")
    return "; ".join(
        f"{cell} {sentence(found, say)}" for cell, found in zip(parted["cell"], parted["parting"], strict=True)
    )


def _first_there(own: pd.DataFrame, say: Say) -> str:
    """Who reaches the accuracy that all reach first, and who last."""
    goal = float(own.groupby("cell")["test_accuracy"].max().min())
    there = own[own["test_accuracy"] >= goal].groupby("cell")["seconds"].min().sort_values()
    pattern = say(
        "{goal}, which all reach, is reached by {first} first, after {early} s of training, by {last} last, after "
        "{late} s."
    )
    return pattern.format(
        goal=TEST_ACCURACY.written(goal),
        first=there.index[0],
        early=f"{there.iloc[0]:.2g}",
        last=there.index[-1],
        late=f"{there.iloc[-1]:.2g}",
    )
