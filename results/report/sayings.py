"""What charts of a comparison show, said: curves that lie on each other, where they part, who is there first."""

from __future__ import annotations

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
        for panel, own in table.dropna(subset=[y]).groupby("panel"):
            if own["cell"].nunique() > 1:
                found.setdefault(int(str(panel)), {})[chart] = _together(own, x, y, say)
    for panel, own in results.runs.groupby("panel"):
        found.setdefault(int(str(panel)), {})["distance-from-reference"] = _partings(own, say)
    for panel, own in epochs.dropna(subset=["test_accuracy"]).groupby("panel"):
        if own["cell"].nunique() > 1:
            found.setdefault(int(str(panel)), {})["accuracy-by-time"] = _first_there(own, say)
    return found


def _together(own: pd.DataFrame, x: str, y: str, say: Say) -> str:
    """How far the curves of a comparison are from each other at most, and whether that can be seen."""
    values = own.astype({y: float}).groupby(x)[y].agg(["min", "max"])
    apart = float((values["max"] - values["min"]).max())
    is_share = y == TEST_ACCURACY.column
    size = say("{apart:.2g} points").format(apart=100 * apart) if is_share else f"{apart:.1e}"
    if not apart:
        size = say("no distance at all")
    number = own["cell"].nunique()
    if apart <= SPREAD * float(values["max"].max() - values["min"].min()):
        return say("All {number} modes lie on each other, within {size}.").format(number=number, size=size)
    return say("The {number} modes are up to {size} apart.").format(number=number, size=size)


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
    return say(
        "{goal} is reached by {first} first, after {early} s of training, by {last} last, after {late} s."
    ).format(
        goal=TEST_ACCURACY.written(goal),
        first=there.index[0],
        early=f"{there.iloc[0]:.2g}",
        last=there.index[-1],
        late=f"{there.iloc[-1]:.2g}",
    )
