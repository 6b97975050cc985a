"""Scaling curves of a sweep: throughput and achieved GFLOP/s of every backend and mode, with the machine's peak."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe and Ito, which people with any kind of colour vision can tell apart; one for each backend."""

DASHES = ("-", "--", ":", "-.")
"""One for each mode of a backend."""


def draw(runs: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw one SVG file per experiment, device and values of the other keys of a sweep; return the paths.

    The horizontal axis is the first key whose values are numbers, if it has more than one. Only runs that are ok and
    comparable are drawn. ``runs`` is the table of one session.
    """
    good = runs[(runs["status"] == "ok") & runs["comparable"].eq(True) & (runs["point"] != "")]
    if good.empty:
        return []
    points = pd.DataFrame([_values(label) for label in good["point"]], index=good.index)
    axis = next((key for key in points if _is_numeric(points[key]) and points[key].nunique() > 1), None)
    if axis is None:
        return []
    rest = [
        ", ".join(f"{key}={value}" for key, value in row.items() if key != axis) for row in points.to_dict("records")
    ]
    table = good.assign(x=pd.to_numeric(points[axis]), rest=rest)
    paths = []
    for key, group in table.groupby(["experiment", "device", "rest"], sort=False):
        experiment, device, others = map(str, key)
        title = f"{experiment} on {device}{', ' if others else ''}{others}"
        name = "-".join(re.sub(r"\W", "-", part) for part in (experiment, device, others) if part)
        paths.append(folder / f"scaling-{group['session'].iloc[0]}-{name}.svg")
        _figure(group, str(axis), title).savefig(paths[-1])
    return paths


def _values(label: str) -> dict[str, str]:
    """The keys and values of a point's label, "batch_size=64, threads=2"."""
    return dict(part.split("=", 1) for part in label.split(", "))


def _is_numeric(values: pd.Series) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().all())


def _figure(group: pd.DataFrame, axis: str, title: str) -> Figure:
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _curves(left, group, "train_samples_per_second")
    left.set_ylabel("training throughput, samples/s")
    _curves(right, group, "gflops")
    right.set_ylabel("achieved GFLOP/s")
    peak = group.groupby("x")["peak_gflops"].median()
    if peak.notna().any():
        right.plot(peak.index, peak, color="grey", linewidth=3, alpha=0.5, label="peak of the machine")
    for axes in (left, right):
        axes.set(xlabel=axis, xscale="log", yscale="log")
        ticks = np.sort(group["x"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    right.legend(fontsize="small")
    return figure


def _curves(axes: Axes, group: pd.DataFrame, column: str) -> None:
    """A line per backend and mode: the median over the processes, and a bar from the lowest to the highest."""
    for number, (backend, own) in enumerate(group.groupby("backend", sort=True)):
        for style, (mode, cell) in zip(DASHES * 9, own.groupby("mode", sort=False), strict=False):
            at = cell.groupby("x")[column].agg(["median", "min", "max"])
            spread = [at["median"] - at["min"], at["max"] - at["median"]]
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(
                at.index, at["median"], spread, color=colour, linestyle=style, marker="o", label=f"{backend} {mode}"
            )
