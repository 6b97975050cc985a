"""The charts: each is one function from a panel to an Altair chart, or to None where there is nothing to draw.

To add one, write its function and add it to ``CHARTS``; page, pictures and tests take it from there. Rows of a chart
have the column ``cell``, by which the page filters them, and charts use the colours of ``colours``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from results.metrics import TEST_ACCURACY, TEST_LOSS, THROUGHPUT
from results.record import PHASES
from results.report.panels import Panel

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Those of Okabe and Ito, which people with any kind of colour vision can tell apart; grey instead of black."""

KNOWN_BACKENDS = ("jax", "mindspore", "pytorch", "reference")
"""They have the same colours in every report."""

SHOWN = "indexof(shown, datum.cell) >= 0"
"""The page sets ``shown`` to the cells that its filter leaves."""

CURVE_POINTS = 200
"""A curve of more steps is thinned to about so many."""

DIGITS = 5
"""Significant digits of numbers in a chart."""


@dataclass(frozen=True)
class Chart:
    """A chart and what has to be said about it."""

    name: str
    title: str
    caption: str
    draw: Callable[[Panel], alt.TopLevelMixin | None]


def colours(backends: Sequence[str]) -> alt.Scale:
    """One colour per backend, the same in every chart."""
    names = [*KNOWN_BACKENDS, *sorted(set(backends) - set(KNOWN_BACKENDS))]
    present = [name for name in names if name in set(backends)]
    return alt.Scale(domain=present, range=[PALETTE[names.index(name) % len(PALETTE)] for name in present])


def throughput(panel: Panel) -> alt.TopLevelMixin | None:
    """Throughput of each cell with its interval; every process is a dot."""
    runs = panel.runs[panel.runs["train_samples_per_second"].notna()]
    if runs.empty:
        return None
    color = _color(runs)
    y = alt.Y("cell:N", title=None, sort=None)
    x = alt.X("value:Q", title=f"{THROUGHPUT.heading} (logarithmic)", scale=alt.Scale(type="log", nice=True))
    dots = _rows(runs, "cell", "backend", "round", value="train_samples_per_second")
    intervals = _rows(panel.throughputs, "cell", "backend", "low", "high", value="samples_per_second")
    points = alt.Chart(dots).mark_circle(size=45, opacity=0.6).transform_filter(SHOWN).encode(x, y, color, tooltip=_all(dots))
    base = alt.Chart(intervals).transform_filter(SHOWN)
    bars = base.mark_rule(strokeWidth=2).encode(alt.X("low:Q"), y, color, x2="high:Q", tooltip=_all(intervals))
    middle = base.mark_tick(thickness=3, size=16).encode(x, y, color)
    return alt.layer(bars, middle, points).properties(height=alt.Step(26))


def training_loss(panel: Panel) -> alt.TopLevelMixin | None:
    """Training loss of each step, of each cell's first run; all lie on each other if the work was the same."""
    rows = _curves(panel)
    if rows.empty:
        return None
    rows = _rows(rows, "cell", "backend", "mode", "step", "loss")
    x = alt.X("step:Q", title="training step")
    y = alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False))
    lines = alt.Chart(rows).mark_line(strokeWidth=1.5, opacity=0.8).transform_filter(SHOWN)
    return lines.encode(x, y, _color(rows), _dash(), detail="cell:N", tooltip=["cell:N", "step:Q", "loss:Q"])


def distance_from_reference(panel: Panel) -> alt.TopLevelMixin | None:
    """How far each training loss is from the float64 reference's, and how far it may be."""
    judged = panel.steps[panel.steps["reference_loss"].notna()]
    rows = _curves(panel, judged)
    if rows.empty:
        return None
    rows = rows.assign(distance=(rows["loss"] - rows["reference_loss"]).abs())
    envelope = rows[rows["cell"] == rows["cell"].iloc[0]]
    envelope = _rows(envelope[envelope["tolerance"] > 0], "step", "tolerance")
    rows = _rows(rows[rows["distance"] > 0], "cell", "backend", "mode", "step", "distance")
    log = alt.Scale(type="log")
    x = alt.X("step:Q", title="training step")
    area = alt.Chart(envelope).mark_line(color="#8C8C8C", strokeWidth=4, opacity=0.5)
    area = area.encode(x, alt.Y("tolerance:Q", title="distance from the float64 reference's loss", scale=log))
    lines = alt.Chart(rows).mark_line(strokeWidth=1, opacity=0.8).transform_filter(SHOWN)
    tooltip = ["cell:N", "step:Q", "distance:Q"]
    return alt.layer(
        area, lines.encode(x, alt.Y("distance:Q", scale=log), _color(rows), _dash(), detail="cell:N", tooltip=tooltip)
    )


def score_by_epoch(panel: Panel) -> alt.TopLevelMixin | None:
    """Test accuracy, or the test loss in regression, after each epoch."""
    return _score(panel, "epoch", "epoch")


def score_by_time(panel: Panel) -> alt.TopLevelMixin | None:
    """The same over the seconds of training, in which compilation is contained."""
    return _score(panel, "elapsed_seconds", "seconds of training, compilation included")


def phases(panel: Panel) -> alt.TopLevelMixin | None:
    """Where the time of a process went; the mean over the cell's runs."""
    names = [phase for phase in PHASES if phase != "waiting"]
    columns = [f"{phase}_seconds" for phase in names]
    seconds = panel.runs.set_index(["cell"])[columns].astype(float).dropna(how="all")
    if seconds.empty:
        return None
    means = seconds.groupby(level=0, sort=False).mean()
    means.columns = pd.Index([name.replace("_", " ") for name in names])
    rows = means.reset_index().melt("cell", var_name="phase", value_name="seconds").dropna()
    order = {name: place for place, name in enumerate(means.columns)}
    rows = _rows(rows.assign(place=rows["phase"].map(order)), "cell", "phase", "place", "seconds")
    color = alt.Color("phase:N", title=None, sort=list(order), scale=alt.Scale(scheme="tableau20"))
    bars = alt.Chart(rows).mark_bar(stroke="white", strokeWidth=0.5).transform_filter(SHOWN)
    return bars.encode(
        alt.X("seconds:Q", title="seconds of a process, waiting for the turns of others left out"),
        alt.Y("cell:N", title=None, sort=None),
        color,
        order="place:Q",
        tooltip=["cell:N", "phase:N", "seconds:Q"],
    ).properties(height=alt.Step(26))


def scaling(panel: Panel) -> alt.TopLevelMixin | None:
    """Throughput and achieved GFLOP/s along a sweep, with what the machine can do at most."""
    good = panel.sweep[(panel.sweep["status"] == "ok") & panel.sweep["comparable"].eq(True)]
    points = pd.DataFrame([dict(part.split("=", 1) for part in point.split(", ")) for point in good["point"]])
    axis = next((key for key in points if _is_numeric(points[key]) and points[key].nunique() > 1), None)
    if axis is None:
        return None
    own = dict(part.split("=", 1) for part in panel.runs["point"].iloc[0].split(", "))
    same = np.all([points[key] == own[key] for key in points if key != axis] or [points[axis].notna()], axis=0)
    good = good.assign(x=pd.to_numeric(points[axis]).to_numpy())[same]
    columns = ["train_samples_per_second", "gflops", "peak_gflops"]
    rows = good.groupby(["cell", "backend", "mode", "x"], sort=False)[columns].median().reset_index()
    rows = rows.rename(columns={"train_samples_per_second": "throughput", "peak_gflops": "peak"})
    rows = _rows(rows, "cell", "backend", "mode", "x", "throughput", "gflops", "peak")
    x = alt.X("x:Q", title=axis, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=sorted(set(rows["x"]))))
    log = alt.Scale(type="log")
    lines = alt.Chart(rows).mark_line(point=True).transform_filter(SHOWN)

    def curves(field: str, title: str) -> alt.Chart:
        y = alt.Y(f"{field}:Q", title=title, scale=log)
        return lines.encode(x, y, _color(rows), _dash(), detail="cell:N", tooltip=_all(rows)).properties(width=230)

    peak = alt.Chart(rows).mark_line(color="#8C8C8C", strokeWidth=4, opacity=0.5)
    peak = peak.encode(x, alt.Y("median(peak):Q", scale=log))
    return alt.hconcat(
        curves("throughput", THROUGHPUT.heading), alt.layer(peak, curves("gflops", "GFLOP/s, and the machine's peak"))
    )


def confusion(panel: Panel) -> alt.TopLevelMixin | None:
    """Which classes of the test set were taken for which, by each cell's first run."""
    firsts = panel.runs[panel.runs["confusion"].map(lambda value: isinstance(value, list))].drop_duplicates("cell")
    if firsts.empty:
        return None
    frames = []
    for cell, counts in zip(firsts["cell"], firsts["confusion"], strict=True):
        table = pd.DataFrame(counts).rename_axis("true").reset_index().melt("true", var_name="predicted", value_name="samples")
        frames.append(table.assign(cell=cell))
    rows = pd.concat(frames).astype({"predicted": int})
    color = alt.Color("samples:Q", scale=alt.Scale(scheme="viridis", type="symlog"))
    squares = alt.Chart(rows).mark_rect().transform_filter(SHOWN)
    squares = squares.encode(
        alt.X("predicted:O", title="predicted class"),
        alt.Y("true:O", title="true class"),
        color,
        tooltip=_all(rows),
    )
    return squares.properties(width=150, height=150).facet(facet=alt.Facet("cell:N", title=None, sort=None), columns=3)


def windows(panel: Panel) -> alt.TopLevelMixin | None:
    """Throughput of every timed window over the time of the session: drift and disturbances are visible."""
    timed = panel.windows[panel.windows["kind"] == "timed"]
    if timed.empty:
        return None
    names = panel.runs[["run", "backend", "mode"]]
    rows = timed.merge(names, on="run").assign(throughput=timed["samples"].to_numpy() / timed["seconds"].to_numpy())
    rows["counts"] = np.where(rows["kept"].astype(bool), "yes", "no, not steady yet")
    rows = _rows(rows, "cell", "backend", "mode", "counts", "throughput", second="started")
    dots = alt.Chart(rows).mark_point(size=14, filled=True, opacity=0.7).transform_filter(SHOWN)
    return dots.encode(
        alt.X("second:Q", title="seconds since the session began", scale=alt.Scale(zero=False)),
        alt.Y("throughput:Q", title=f"{THROUGHPUT.heading} (logarithmic)", scale=alt.Scale(type="log")),
        _color(rows),
        alt.Shape("mode:N", title="mode"),
        tooltip=_all(rows),
    )


CHARTS = (
    Chart(
        "throughput",
        "Training throughput",
        "Each dot is one process; the tick is the cell's throughput, the line its 95 % interval over fresh processes.",
        throughput,
    ),
    Chart(
        "training-loss",
        "Training loss",
        "The first run of each cell. Where the work is the same, the curves lie on each other.",
        training_loss,
    ),
    Chart(
        "distance-from-reference",
        "Loss minus the float64 reference",
        "Training amplifies rounding. The grey line is how far an honest float32 run may be from the reference at each "
        "step; a curve above it is other work. A distance of exactly zero cannot be drawn.",
        distance_from_reference,
    ),
    Chart("score-by-epoch", "Score on the test set by epoch", "Median over the runs of a cell.", score_by_epoch),
    Chart(
        "score-by-time",
        "Score on the test set by time",
        "Median over the runs of a cell. Seconds of training count from the first step, with its compilation; "
        "evaluation is left out.",
        score_by_time,
    ),
    Chart(
        "phases",
        "Phases of a process",
        "Mean over the runs of a cell. The first step holds compilation; a cold compiler cache is in the first round only.",
        phases,
    ),
    Chart(
        "scaling",
        "Scaling along the sweep",
        "Medians over the runs. The grey line is the most that any framework reached in a square product.",
        scaling,
    ),
    Chart("confusion", "Confusion on the test set", "The first run of each cell, after the last epoch.", confusion),
    Chart(
        "windows",
        "Timed windows over time",
        "Every window of every process. A level that changes for all cells is the machine's drift, which cancels in "
        "the ratios.",
        windows,
    ),
)


def _score(panel: Panel, column: str, title: str) -> alt.TopLevelMixin | None:
    regression = panel.epochs["test_accuracy"].isna().all()
    metric = TEST_LOSS if regression else TEST_ACCURACY
    known = panel.epochs[panel.epochs[metric.column].notna()].merge(panel.runs[["run", "backend", "mode"]], on="run")
    if known.empty:
        return None
    means = known.groupby(["cell", "backend", "mode", "epoch"], sort=False)[[metric.column, "elapsed_seconds"]].median()
    rows = means.reset_index().assign(score=lambda table: table[metric.column], at=lambda table: table[column])
    rows = _rows(rows, "cell", "backend", "mode", "epoch", "score", "at")
    y = alt.Y("score:Q", title=metric.heading, scale=alt.Scale(zero=False, type="log" if regression else "linear"))
    if not regression:
        y = y.axis(format="%")
    lines = alt.Chart(rows).mark_line(point=alt.OverlayMarkDef(size=20), strokeWidth=1.5).transform_filter(SHOWN)
    x = alt.X("at:Q", title=title)
    return lines.encode(x, y, _color(rows), _dash(), detail="cell:N", tooltip=_all(rows))


def _curves(panel: Panel, steps: pd.DataFrame | None = None) -> pd.DataFrame:
    """The steps of each cell's first run that has any, thinned."""
    steps = panel.steps if steps is None else steps
    parts = []
    for _, own in steps.groupby("cell", sort=False):
        first = own[own["run"] == own["run"].iloc[0]]
        parts.append(first.iloc[:: max(1, round(len(first) / CURVE_POINTS))])
    rows = pd.concat(parts) if parts else steps
    return rows.merge(panel.runs[["run", "backend", "mode"]], on="run")


def _rows(table: pd.DataFrame, *columns: str, **renamed: str) -> pd.DataFrame:
    """The columns that a chart needs, some under other names, with no more digits than can be seen."""
    rows = table[[*columns, *renamed.values()]].rename(columns={old: new for new, old in renamed.items()})
    for name in rows.columns[[kind.kind == "f" for kind in rows.dtypes]]:
        rows[name] = [float(f"{value:.{DIGITS}g}") for value in rows[name]]
    return rows


def _color(rows: pd.DataFrame) -> alt.Color:
    return alt.Color("backend:N", scale=colours(list(rows["backend"])), title="backend")


def _dash() -> alt.StrokeDash:
    return alt.StrokeDash("mode:N", title="mode")


def _all(rows: pd.DataFrame) -> list[str]:
    return list(rows.columns)


def _is_numeric(values: pd.Series) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().all())


def specification(chart: alt.TopLevelMixin, cells: Sequence[str]) -> dict[str, Any]:
    """A Vega-Lite specification without its rows' names that depend on their content; ``shown`` holds all cells."""
    found: dict[str, Any] = chart.to_dict()
    names = {name: f"rows-{place}" for place, name in enumerate(found["datasets"])}
    found["datasets"] = {names[name]: rows for name, rows in found["datasets"].items()}
    found["params"] = [*found.get("params", []), {"name": "shown", "value": list(cells)}]
    _rename(found, names)
    del found["config"]
    if "hconcat" not in found and "facet" not in found:
        found |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}  # of the page's place for it
    return found


def _rename(part: Any, names: dict[str, str]) -> None:
    """Change the names of data sets wherever they are used."""
    if isinstance(part, list):
        for item in part:
            _rename(item, names)
    elif isinstance(part, dict):
        data = part.get("data")
        if isinstance(data, dict) and data.get("name") in names:
            data["name"] = names[data["name"]]
        for name, value in part.items():
            if name != "datasets":
                _rename(value, names)
