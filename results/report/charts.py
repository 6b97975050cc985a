"""The charts: each is one function that returns an Altair chart of a table of ``results.report.rows``.

To add one, write its function and add it to ``CHARTS``; page, pictures and tests take it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from results.metrics import TEST_ACCURACY, TEST_LOSS, THROUGHPUT

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Those of Okabe and Ito, which people with any kind of colour vision can tell apart; grey instead of black."""

KNOWN_BACKENDS = ("jax", "mindspore", "pytorch", "reference")
"""They have the same colours in every report."""

SHOWN = "indexof(shown, datum.cell) >= 0"
"""The page sets ``shown`` to the cells that its filter leaves."""

ROW_HEIGHT = 46
"""Pixels of a line per cell, with its verdict above it."""

VERDICT_ABOVE = 9
"""Pixels between an interval and the words above it."""

EACH_WIDTH, EACH_HEIGHT = 130, 90
"""Pixels of a chart of one cell beside those of others."""

COST_WIDTH, COST_ROW = 84, 22
"""Pixels of the bars of one cost, and of a line."""

SWEEP_WIDTH = 200
"""Pixels of each of the two charts of a sweep."""

KEY_BELOW = 28
"""Pixels below its axis at which the name of a sweep's key stands."""

LOG = alt.Scale(type="log")


@dataclass(frozen=True)
class Chart:
    """A chart and what has to be said about it; it is drawn where ``column`` of its ``table`` holds a value."""

    name: str
    title: str
    caption: str
    table: str
    column: str
    draw: Callable[[alt.Color], alt.TopLevelMixin]
    row_per_cell: bool = False
    """Whether its height follows the number of cells."""


def speed(color: alt.Color) -> alt.TopLevelMixin:
    """The ratio of each cell's throughput to the baseline's with its interval; every round is a dot."""
    cells = alt.Y("cell:N", title=None, sort=None, scale=alt.Scale(paddingInner=0.3))
    x = alt.X("ratio:Q", title="times the baseline's samples/s (logarithmic)", scale=alt.Scale(type="log", nice=True))
    color = color.legend(None)
    base = alt.Chart(alt.NamedData("ratios")).transform_filter(SHOWN)
    bars = base.mark_rule(strokeWidth=3).encode(
        alt.X("low:Q"), cells, color, x2=alt.X2("high:Q"), tooltip=_tooltip("cell:N", "verdict:N")
    )
    middle = base.mark_tick(thickness=3, size=18).encode(x, cells, color, tooltip=_tooltip("cell:N", "verdict:N"))
    words = base.mark_text(align="left", baseline="bottom", dy=-VERDICT_ABOVE).encode(
        alt.Text("verdict:N"), cells, x=alt.value(4)
    )
    dots = alt.Chart(alt.NamedData("rounds")).mark_circle(size=40, opacity=0.6).transform_filter(SHOWN)
    dots = dots.encode(x, cells, color, tooltip=_tooltip("cell:N", "ratio:Q"))
    one = (
        alt.Chart(alt.NamedData("ratios"))
        .mark_rule(color="#8C8C8C", strokeDash=[4, 3], aria=False)
        .encode(x=alt.datum(1))
    )
    return alt.layer(one, bars, middle, dots, words)


def costs(color: alt.Color) -> alt.TopLevelMixin:
    """What people wait for, in seconds, each with an axis of its own."""
    bars = alt.Chart(alt.NamedData("costs")).transform_filter(SHOWN)
    y = alt.Y("cell:N", title=None, sort=None)
    x = alt.X("seconds:Q", title=None, axis=alt.Axis(tickCount=2))
    tooltip = _tooltip("cell:N", "cost:N", "seconds:Q")
    bar = bars.mark_bar().encode(x, y, color.legend(None), tooltip=tooltip)
    words = bars.mark_text(align="left", dx=3).encode(x, y, alt.Text("text:N"))
    column = alt.Column("cost:N", title=None, sort=alt.EncodingSortField("place"))
    return (
        alt.layer(bar, words)
        .properties(width=COST_WIDTH, height=alt.Step(COST_ROW))
        .facet(column=column, spacing=14)
        .resolve_scale(x="independent")
    )


def time_by_epochs(color: alt.Color) -> alt.TopLevelMixin:
    """From start to so many epochs: where a line that begins higher crosses another one, it has paid back."""
    x = alt.X("epochs:Q", title="epochs (logarithmic)", scale=LOG)
    y = alt.Y("seconds:Q", title="seconds (logarithmic)", scale=LOG)
    return _lines("waits").encode(x, y, color, **_by_mode(), tooltip=_tooltip("cell:N", "epochs:Q", "seconds:Q"))


def training_loss(color: alt.Color) -> alt.TopLevelMixin:
    """Training loss of each step, of each cell's first run."""
    y = alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False))
    return _each(
        _lines("steps").encode(
            alt.X("step:Q", title="training step"), y, color, tooltip=_tooltip("cell:N", "step:Q", "loss:Q")
        )
    )


def distance_from_reference(color: alt.Color) -> alt.TopLevelMixin:
    """How far each training loss is from the float64 reference's, and how far it may be."""
    x = alt.X("step:Q", title="training step")
    allowed = alt.Chart(alt.NamedData("steps")).mark_line(color="#8C8C8C", strokeWidth=4, opacity=0.5)
    allowed = allowed.transform_filter("datum.tolerance > 0").encode(
        x, alt.Y("max(tolerance):Q", title="distance from the float64 reference's loss", scale=LOG)
    )
    lines = _lines("steps", 1).transform_filter("datum.distance > 0")
    tooltip = _tooltip("cell:N", "step:Q", "distance:Q", "tolerance:Q")
    y = alt.Y("distance:Q", scale=LOG)
    parted = alt.Chart(alt.NamedData("partings")).mark_point(shape="triangle-down", size=120, filled=True, yOffset=-8)
    parted = parted.transform_filter(SHOWN).encode(x, y, color, tooltip=_tooltip("cell:N", "step:Q", "distance:Q"))
    return alt.layer(allowed, lines.encode(x, y, color, **_by_mode(), tooltip=tooltip), parted)


def accuracy_by_epoch(color: alt.Color) -> alt.TopLevelMixin:
    """Test accuracy after each epoch."""
    return _each(_accuracy(alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)), color))


def accuracy_by_time(color: alt.Color) -> alt.TopLevelMixin:
    """The same over the seconds of training, in which compilation is contained."""
    x = alt.X("seconds:Q", title="seconds of training, compilation included (logarithmic)", scale=LOG)
    return _accuracy(x, color).transform_filter("datum.seconds > 0").encode(**_by_mode())


def loss_by_epoch(color: alt.Color) -> alt.TopLevelMixin:
    """Test loss after each epoch."""
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))
    y = alt.Y("test_loss:Q", title=TEST_LOSS.heading, scale=LOG)
    tooltip = _tooltip("cell:N", "epoch:Q", "test_loss:Q")
    return _each(_lines("epochs", point=True).encode(x, y, color, tooltip=tooltip))


def fitting(color: alt.Color) -> alt.TopLevelMixin:
    """Training and validation loss by epoch: where the second rises again, the model over-fits."""
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))
    y = alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False))
    tooltip = _tooltip("cell:N", "set:N", "epoch:Q", "loss:Q")
    legend = alt.Legend(title="loss on", symbolType="stroke", symbolStrokeColor="#8C8C8C")
    dash = alt.StrokeDash("set:N", legend=legend, scale=alt.Scale(domain=["training", "validation"]))
    lines = _lines("fitting").encode(x, y, color, dash, detail=alt.Detail("cell:N"), tooltip=tooltip)
    marks = alt.Chart(alt.NamedData("fitting")).mark_point(size=90, strokeWidth=2.5).transform_filter(SHOWN)
    return alt.layer(lines, marks.transform_filter("datum.best").encode(x, y, color, tooltip=tooltip))


def scaling(color: alt.Color) -> alt.TopLevelMixin:
    """Throughput and achieved GFLOP/s along a sweep, with what the machine can do at most."""
    x = alt.X("x:Q", title=None, scale=alt.Scale(type="log", nice=False))
    # The axis is named by the data: a chart's own titles are the same for every sweep.
    key = alt.Chart(alt.NamedData("sweep")).mark_text(fontWeight="bold", dy=KEY_BELOW)
    key = key.encode(alt.Text("min(key):N"), x=alt.value(SWEEP_WIDTH / 2), y=alt.value("height"))
    tooltip = _tooltip("cell:N", "key:N", "x:Q", "throughput:Q", "gflops:Q", "peak:Q")

    def curves(field: str, title: str) -> alt.Chart:
        y = alt.Y(f"{field}:Q", title=title, scale=LOG)
        lines = _lines("sweep", point=True)
        return lines.encode(x, y, color, **_by_mode(), tooltip=tooltip).properties(width=SWEEP_WIDTH)

    peak = alt.Chart(alt.NamedData("sweep")).mark_line(color="#8C8C8C", strokeWidth=4, opacity=0.5)
    peak = peak.encode(x, alt.Y("median(peak):Q", scale=LOG))
    left, right = curves("throughput", THROUGHPUT.heading), curves("gflops", "GFLOP/s, and the machine's peak")
    return alt.hconcat(alt.layer(left, key), alt.layer(peak, right, key))


def confusion(_: alt.Color) -> alt.TopLevelMixin:
    """Which classes of the test set were taken for which, by each cell's first run."""
    squares = alt.Chart(alt.NamedData("confusion")).mark_rect().transform_filter(SHOWN)
    squares = squares.encode(
        alt.X("predicted:N", title="predicted class", sort=alt.EncodingSortField("predicted_place")),
        alt.Y("true:N", title="true class", sort=alt.EncodingSortField("true_place")),
        alt.Color("samples:Q", scale=alt.Scale(scheme="viridis", type="symlog")),
        tooltip=_tooltip("cell:N", "true:N", "predicted:N", "samples:Q"),
    )
    return squares.properties(width=EACH_WIDTH, height=EACH_WIDTH).facet(
        facet=alt.Facet("cell:N", title=None, sort=None), columns=3
    )


def windows(color: alt.Color) -> alt.TopLevelMixin:
    """Throughput of every timed window over the time of the session: drift and disturbances are visible."""
    dots = alt.Chart(alt.NamedData("windows")).mark_point(size=14, filled=True, opacity=0.7).transform_filter(SHOWN)
    return dots.encode(
        alt.X("second:Q", title="seconds since the session began", scale=alt.Scale(zero=False)),
        alt.Y("throughput:Q", title=f"{THROUGHPUT.heading} (logarithmic)", scale=LOG),
        color,
        alt.Shape("mode:N", title=None),
        tooltip=_tooltip("cell:N", "second:Q", "throughput:Q", "counts:N"),
    )


CHARTS = (
    Chart(
        "speed",
        "Training speed",
        "The tick is the ratio of throughputs, the line its 95 % interval over rounds of fresh processes, the dots. "
        "Right of the dashed line is faster.",
        "ratios",
        "ratio",
        speed,
        row_per_cell=True,
    ),
    Chart(
        "cost",
        "What people wait for, in seconds",
        "Medians over the runs. Start, import, load and the first step come once. The first step compiles; it is warm "
        "where an earlier process had. Evaluation is that of the whole training. Each has an axis of its own.",
        "costs",
        "seconds",
        costs,
    ),
    Chart(
        "time-by-epochs",
        "Seconds until so many epochs are trained",
        "Start, import, load and a first step with nothing compiled before; then epochs at the steady speed. "
        "Evaluation is left out. Below all others is what to take for that many epochs.",
        "waits",
        "seconds",
        time_by_epochs,
    ),
    Chart(
        "accuracy-by-time",
        "Test accuracy by time",
        "Median over the runs of a configuration. Seconds of training count from the first step, with its compilation, "
        "which most runs find done by an earlier process; evaluation is left out.",
        "epochs",
        "test_accuracy",
        accuracy_by_time,
    ),
    Chart(
        "accuracy-by-epoch",
        "Test accuracy by epoch",
        "Median over the runs of a configuration.",
        "epochs",
        "test_accuracy",
        accuracy_by_epoch,
    ),
    Chart(
        "distance-from-reference",
        "Loss minus the float64 reference",
        "Training amplifies rounding. The grey line is how far an honest float32 run may be from the reference at each "
        "step; a curve above it is other work. A triangle marks where a curve parts. A distance of exactly zero cannot "
        "be drawn.",
        "steps",
        "distance",
        distance_from_reference,
    ),
    Chart(
        "training-loss",
        "Training loss",
        "The first run of each configuration.",
        "steps",
        "loss",
        training_loss,
    ),
    Chart(
        "loss-by-epoch",
        "Test loss by epoch",
        "Median over the runs of a configuration.",
        "epochs",
        "test_loss",
        loss_by_epoch,
    ),
    Chart(
        "fitting",
        "Training and validation loss",
        "The first run of each configuration. A ring marks the epoch with the best score on the validation set; where "
        "the loss on it rises while that of the training falls, the model over-fits. Training loss is the mean during "
        "an epoch.",
        "fitting",
        "loss",
        fitting,
    ),
    Chart(
        "scaling",
        "Scaling along the sweep",
        "Medians over the runs. The grey line is the most that any framework reached in a square product.",
        "sweep",
        "throughput",
        scaling,
    ),
    Chart(
        "confusion",
        "Confusion on the test set",
        "The first run of each configuration, after the last epoch.",
        "confusion",
        "samples",
        confusion,
    ),
    Chart(
        "windows",
        "Timed windows over time",
        "Every window of every process. A level that changes for all of them is the machine's drift, which cancels in "
        "the ratios.",
        "windows",
        "throughput",
        windows,
    ),
)


def drawn(tables: dict[str, pd.DataFrame]) -> list[Chart]:
    """The charts that have something to show in these tables."""
    return [chart for chart in CHARTS if panels_of(chart, tables)]


def panels_of(chart: Chart, tables: dict[str, pd.DataFrame]) -> set[int]:
    """The comparisons in which a chart has something to show."""
    table = tables[chart.table]
    return set(table.loc[table[chart.column].notna(), "panel"])


def specification(chart: Chart, backends: Sequence[str]) -> dict[str, Any]:
    """The chart in Vega-Lite; its data are to be given as ``datasets``, and the cells in it as the signal ``shown``."""
    color = alt.Color("backend:N", scale=colours(backends), title="backend")
    found: dict[str, Any] = chart.draw(color).to_dict(validate=False)  # which takes longer than all else; tests do it
    del found["config"]
    found["params"] = [*found.get("params", []), {"name": "shown", "value": []}]
    if "hconcat" not in found and "facet" not in found:
        found |= {
            "width": "container",
            "autosize": {"type": "fit-x", "contains": "padding"},
        }  # of the page's place for it
    return found


def colours(backends: Sequence[str]) -> alt.Scale:
    """One colour per backend, the same in every chart."""
    names = [*KNOWN_BACKENDS, *sorted(set(backends) - set(KNOWN_BACKENDS))]
    present = [name for name in names if name in set(backends)]
    return alt.Scale(domain=present, range=[PALETTE[names.index(name) % len(PALETTE)] for name in present])


def _accuracy(x: alt.X, color: alt.Color) -> alt.Chart:
    y = alt.Y("test_accuracy:Q", title=TEST_ACCURACY.heading, scale=alt.Scale(zero=False), axis=alt.Axis(format="%"))
    tooltip = _tooltip("cell:N", "epoch:Q", "seconds:Q", "test_accuracy:Q")
    return _lines("epochs", point=True).encode(x, y, color, tooltip=tooltip)


def _lines(table: str, width: float = 1.5, point: bool = False) -> alt.Chart:
    marks = alt.Chart(alt.NamedData(table)).mark_line(strokeWidth=width, opacity=0.8, point=point)
    return marks.transform_filter(SHOWN)


def _each(chart: alt.Chart) -> alt.TopLevelMixin:
    """The same axes for each cell, beside each other: curves that lie on each other hide each other in one."""
    small = chart.properties(width=EACH_WIDTH, height=EACH_HEIGHT)
    chart.encoding.color.legend = None  # its name is above each
    return small.facet(facet=alt.Facet("cell:N", title=None, sort=None), columns=3)


def _by_mode() -> dict[str, Any]:
    """One line per cell, dashed by mode."""
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeColor="#8C8C8C")
    return {"strokeDash": alt.StrokeDash("mode:N", legend=legend), "detail": alt.Detail("cell:N")}


def _tooltip(*fields: str) -> list[alt.Tooltip]:
    """Lines of the text that appears beside the pointer."""
    return [alt.Tooltip(field) for field in fields]
