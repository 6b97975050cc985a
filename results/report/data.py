"""The data of the page's script: rows of the table, ratios to every baseline, and what charts are drawn from."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from backends.hosting.environments import FOLDER
from results import metrics
from results.overview import Field, left_out, not_run
from results.payback import paid_back, written
from results.record import Say
from results.report.charts import CHARTS, ROW_HEIGHT, Chart, panels_of, specification
from results.report.numbers import finite, short
from results.report.panels import Results, label
from results.report.ratios import Ratios, bests, ratios
from results.report.rows import cell_throughputs, chart_tables
from results.report.sayings import sayings
from results.statistics import GROUP
from results.tables import judged

TEXT_COLUMNS = ("experiment", "sweep_point", "device", "backend", "mode")

ANSWERS = (
    *("experiment", "backend", "mode", "ratio", "work"),
    *(metric.column for metric in (metrics.THROUGHPUT, metrics.TEST_ACCURACY, metrics.FIRST_STEP, metrics.PAID_BACK)),
)
"""Columns of the page's table that are there at first; the others are behind a button."""

MOST_LINES = 12
"""Lines of the first screen; what is more is put together."""


def page_data(results: Results, baseline: tuple[str, str], say: Say = str) -> dict[str, Any]:
    """Everything that the script needs, as plain JSON values without NaN; ``baseline`` is the reader's first one."""
    cells = results.runs[["backend", "mode", "cell"]].drop_duplicates()
    names, default = list(cells["cell"]), " ".join(baseline)
    return {
        **common_data(results, ratios(results, baseline, say), bests(results, say), say),
        "modes": cells.sort_values("backend", kind="stable").to_dict("records"),
        "baselines": names,
        "baseline": default if default in names else names[0],
    }


def common_data(
    results: Results, compared: Ratios, sentences: dict[int, dict[str, list[str]]], say: Say = str
) -> dict[str, Any]:
    """The same but for what is compared with what; ``sentences`` are those of frameworks at their best."""
    tables = chart_tables(results)
    rows = _rows(results, say)
    rows_of: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        rows_of.setdefault(row["panel"], []).append(row)
    numbers = {(panel, row["cell"]): number for panel, own in rows_of.items() for number, row in enumerate(own)}
    # The page makes the tables of ratios, to the baseline that its reader has chosen.
    shown = {chart.name: panels_of(chart, tables) if chart.table in tables else set(compared) for chart in CHARTS}
    parts = {name: _by_panel(table, numbers, len(rows_of)) for name, table in tables.items()}
    said = sayings(results, tables, say)
    labels = [label(run, say) for _, run in results.runs.drop_duplicates("panel").iterrows()]
    panels = [
        {
            "label": name,
            "title": title,
            **_panel(rows_of[panel], compared.get(panel, {}), say),
            "best": sentences.get(panel, {}),
            "said": said.get(panel, {}),
            "charts": [name for name, among in shown.items() if panel in among],
            "tables": {name: part[panel] for name, part in parts.items()},
        }
        for panel, (name, title) in enumerate(zip(labels, results.titles, strict=True))
    ]
    return {
        "columns": [
            {"key": key, "title": say(title), "number": number, "first": _is_first(key, rows)}
            for key, title, number in _columns()
        ],
        "rows": finite(rows),
        "panels": panels,
        "lines": list(lines(results, say)),
        "not_run": _field(not_run(say)),
        "charts": {chart.name: _chart(chart, results, say) for chart in CHARTS},
        "row_height": ROW_HEIGHT,
        "words": {word: say(word) for word in WORDS},
        "language": {key: say(text) for key, text in TABLE_TEXTS.items()},
    }


TABLE_TEXTS = {
    "info": "_START_ to _END_ of _TOTAL_ rows",
    "infoEmpty": "no rows",
    "infoFiltered": "(filtered from _MAX_)",
    "zeroRecords": "no row matches",
}
"""Texts of DataTables."""

WORDS = (
    *("{low} to {high}", "copied {rows} rows", "search in all columns", "columns", "copy as Markdown"),
    *("save as CSV", "filter", "equal work", "copied"),
)
"""Texts of the page's own script."""


def lines(results: Results, say: Say = str) -> Iterator[dict[str, Any]]:
    """The lines of the first screen: a comparison each, or if they are too many, those of an experiment, or all."""
    firsts = results.runs.drop_duplicates("panel")
    titles, steps = results.titles, judged(results.runs, "panel", say)
    kinds = titles if len(titles) <= MOST_LINES else list(firsts["experiment"])
    if len(set(kinds)) > MOST_LINES:
        kinds = [say("all comparisons")] * len(titles)
    for kind in dict.fromkeys(kinds):
        panels = [panel for panel, own in enumerate(kinds) if own == kind]
        proved = dict.fromkeys(steps[panel] for panel in panels if panel in steps)
        note = next(iter(proved)) if len(proved) == 1 else say("on {least} and more") if proved else ""
        yield {"title": kind, "panels": panels, "proved": note.format(least=min(proved, default=""))}


def _panel(cells: list[dict[str, Any]], ratios: dict[str, Any], say: Say) -> dict[str, Any]:
    """The cells of one comparison, which are its rows in the table, and their ratios."""
    return {
        "cells": [{name: cell[name] for name in ("cell", "backend", "mode", "out")} for cell in cells],
        "left_out": [
            say("{cell}: left out of every ratio; equal work: {work}; runs: {status}").format(**cell)
            for cell in cells
            if cell["out"]
        ],
        "ratios": ratios,
    }


def _by_panel(table: pd.DataFrame, numbers: dict[tuple[int, str], int], panels: int) -> list[dict[str, list[Any]]]:
    """The values of each column, by comparison; the page knows backend and mode of a cell by its number."""
    table = table.sort_values("panel", kind="stable")
    ends = np.searchsorted(table["panel"].to_numpy(), range(panels + 1))
    lists = table.drop(columns=["panel", "backend", "mode"]).to_dict("list")
    columns = {str(name): [short(value) for value in values] for name, values in lists.items()}
    columns["cell"] = [numbers[key] for key in zip(table["panel"], table["cell"], strict=True)]
    return [{name: values[begin:end] for name, values in columns.items()} for begin, end in pairwise(ends)]


def _chart(chart: Chart, results: Results, say: Say) -> dict[str, Any]:
    spec = _translated(_specification(chart, tuple(dict.fromkeys(results.runs["backend"]))), say)
    return {"title": say(chart.title), "caption": say(chart.caption), "row_per_cell": chart.row_per_cell, "spec": spec}


@cache
def _specification(chart: Chart, backends: tuple[str, ...]) -> dict[str, Any]:
    """It takes longer than all else, and is the same for every page."""
    return specification(chart, backends)


def _translated(spec: Any, say: Say) -> Any:
    """The same specification with the titles of its axes and legends in the reader's language."""
    if isinstance(spec, dict):
        return {
            name: say(item) if name == "title" and isinstance(item, str) else _translated(item, say)
            for name, item in spec.items()
        }
    return [_translated(item, say) for item in spec] if isinstance(spec, list) else spec


def _columns() -> Iterator[tuple[str, str, bool]]:
    """Key, heading, and whether it is a number, of every column of the page's table."""
    yield from ((name, name.replace("_", " "), False) for name in TEXT_COLUMNS)
    yield "ratio", "against the baseline", True
    yield "work", "equal work", False
    yield metrics.PAID_BACK.column, metrics.PAID_BACK.heading, True
    yield from ((metric.column, metric.heading, True) for metric in metrics.METRICS)
    yield "status", "status", False
    yield "script", "without lockstep", False


def _is_first(key: str, rows: list[dict[str, Any]]) -> bool:
    """Whether a column answers a question of these rows at once."""
    if key in ("sweep_point", "device"):
        return len({row[key] for row in rows}) > 1
    if key == metrics.TEST_LOSS.column:
        return any(row[metrics.TEST_ACCURACY.column][0] is None for row in rows)
    return key in ANSWERS or (key == "status" and any(row["out"] for row in rows))


CELL = ["panel", "cell"]


def _rows(results: Results, say: Say) -> list[dict[str, Any]]:
    """A row per cell, over all its runs: texts, and pairs of number and text."""
    runs = results.runs
    figures = _figures(runs[runs["status"] == "ok"], cell_throughputs(results), say)
    for key, pair in _paid_back(results, say).items():
        figures[key][metrics.PAID_BACK.column] = pair
    of_cell: dict[tuple[int, str], list[Any]] = {}
    run: Any
    for run in runs[[*CELL, "status", "equal_work", "failed_rung", "phase"]].itertuples(index=False):
        of_cell.setdefault((run.panel, run.cell), []).append(run)
    steps = judged(runs, CELL, say)
    return [
        {
            **{name: str(run[name]) for name in TEXT_COLUMNS},
            **NO_FIGURES,
            **figures.get((run["panel"], run["cell"]), {}),
            "panel": run["panel"],
            "cell": run["cell"],
            "out": _field(left_out(of_cell[run["panel"], run["cell"]], say)),
            "work": _work(of_cell[run["panel"], run["cell"]], steps.get((run["panel"], run["cell"]), ""), say),
            "status": _statuses(of_cell[run["panel"], run["cell"]], say),
            "script": _script(run),
        }
        for run in runs.drop_duplicates(CELL)[[*CELL, *TEXT_COLUMNS]].to_dict("records")
    ]


def _script(run: dict[Any, Any]) -> str:
    """The command that writes this training as a program of its framework; none where it has no template."""
    if run["sweep_point"] or not (FOLDER / f"{run['backend']}.jinja").exists():
        return ""
    what = ["script", run["experiment"], "--backend", run["backend"], "--mode", run["mode"]]
    return shlex.join(["lockstep", *map(str, what)])


NO_FIGURES = {metric.column: [None, metric.written(None)] for metric in (*metrics.METRICS, metrics.PAID_BACK)}


def _field(field: Field | None) -> dict[str, str] | None:
    return None if field is None else {"state": field.state, "text": field.text, "why": field.why}


def _figures(ok: pd.DataFrame, speeds: pd.DataFrame, say: Say) -> dict[tuple[Any, ...], dict[str, list[Any]]]:
    """The metrics of each cell: medians over its runs that are ok, and the throughput over rounds."""
    columns = [metric.column for metric in metrics.METRICS]
    medians = ok.astype(dict.fromkeys(columns, float)).groupby(CELL)[columns].median()
    figures: dict[tuple[Any, ...], dict[str, list[Any]]] = {}
    for key, *values in medians.itertuples(name=None):
        pairs = zip(metrics.METRICS, values, strict=True)
        figures[key] = {metric.column: [value, metric.written(value)] for metric, value in pairs}
    for *key, value in speeds[[*CELL, "throughput"]].itertuples(index=False, name=None):
        figures[tuple(key)][metrics.THROUGHPUT.column] = [value, metrics.THROUGHPUT.written(value)]
    for name, own in ok[ok["compiler_cache"] != ""].groupby(CELL):
        figures[name][metrics.FIRST_STEP.column] = _first_step(own, say)
    return figures


def _first_step(ok: pd.DataFrame, say: Say) -> list[Any]:
    """What is usual, and what the processes took that found nothing compiled."""
    metric = metrics.FIRST_STEP
    cold = ok["compiler_cache"] == "cold"
    seconds = ok[metric.column].astype(float)
    if cold.all() or not cold.any():
        return [seconds.median(), metric.written(seconds.median())]
    warm = seconds[~cold].median()
    pattern = say("{warm} (with a cold cache {cold})")
    return [warm, pattern.format(warm=metric.written(warm), cold=metric.written(seconds[cold].median()))]


def _paid_back(results: Results, say: Say) -> dict[tuple[int, str], list[Any]]:
    """By panel and cell: after how many epochs compilation is paid back, as a number and as a text."""
    cells = results.runs[[*CELL, *GROUP, "backend", "mode"]].drop_duplicates()
    pairs = {}
    row: Any
    for row in paid_back(results.runs, results.windows).merge(cells).itertuples(index=False):
        text = say("starts cheapest") if row.mode == row.cheapest else written(row.epochs, row.epochs_warm, say)
        pairs[row.panel, row.cell] = [row.epochs, text]
    return pairs


def _statuses(runs: list[Any], say: Say) -> str:
    """How many of a cell's runs ended how, the most frequent first."""
    counts = Counter(run.status for run in runs)
    return ", ".join(f"{number} {say(status)}" for status, number in counts.most_common())


def _work(runs: list[Any], steps: str, say: Say) -> str:
    """The badge of the ladder: what did other work even once is not equal, whatever its other runs did."""
    other = [run.failed_rung for run in runs if run.equal_work is False]
    if other:
        return say("no: {rung}").format(rung=say(other[0] or "cross-checks"))
    if not any(run.equal_work is True for run in runs):
        return say("not proved")
    return say("yes, {steps}").format(steps=steps) if steps else say("yes")
