"""The data of the page's script: rows of the table, ratios to every baseline, and what charts are drawn from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from results import metrics
from results.best import best_all
from results.payback import paid_back
from results.report.charts import CHARTS, ROW_HEIGHT, Chart, panels_of, specification
from results.report.panels import Results
from results.report.rows import chart_tables
from results.statistics import GROUP, Ratio, compare_all
from results.tables import judged

DIGITS = 5
"""Significant digits of numbers in a chart."""

TEXT_COLUMNS = ("experiment", "sweep_point", "device", "backend", "mode")


def page_data(results: Results, baseline: tuple[str, str]) -> dict[str, Any]:
    """Everything that the script needs, as plain JSON values without NaN; ``baseline`` is the reader's first one."""
    tables = chart_tables(results)
    ratios, bests = _ratios(results, baseline), _bests(results)
    rows = _rows(results, tables["intervals"])
    rows_of: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        rows_of.setdefault(row["panel"], []).append(row)
    numbers = {(panel, row["cell"]): number for panel, own in rows_of.items() for number, row in enumerate(own)}
    parts = {name: _by_panel(table, numbers, len(rows_of)) for name, table in tables.items()}
    shown = {chart.name: panels_of(chart, tables) for chart in CHARTS}
    panels = [
        {
            "label": label,
            **_panel(rows_of[panel], ratios.get(panel, {})),
            "best": bests.get(panel, {}),
            "charts": [name for name, among in shown.items() if panel in among],
            "tables": {name: part[panel] for name, part in parts.items()},
        }
        for panel, label in enumerate(results.labels)
    ]
    names = list(dict.fromkeys(row["cell"] for row in rows))
    default = " ".join(baseline)
    return {
        "columns": [{"key": key, "title": title, "number": number} for key, title, number in _columns()],
        "rows": _finite(rows),
        "panels": panels,
        "charts": {chart.name: _chart(chart, results) for chart in CHARTS},
        "row_height": ROW_HEIGHT,
        "baselines": names,
        "baseline": default if default in names else names[0],
    }


def _panel(cells: list[dict[str, Any]], ratios: dict[str, Any]) -> dict[str, Any]:
    """The cells of one comparison, which are its rows in the table, and their ratios."""
    return {
        "cells": [{name: cell[name] for name in ("cell", "backend", "mode")} for cell in cells],
        "left_out": [
            f"{cell['cell']}: left out of every ratio; equal work: {cell['work']}; runs: {cell['status']}"
            for cell in cells
            if cell["cell"] not in ratios
        ],
        "ratios": ratios,
    }


def _by_panel(table: pd.DataFrame, numbers: dict[tuple[int, str], int], panels: int) -> list[dict[str, list[Any]]]:
    """The values of each column, by comparison; the page knows backend and mode of a cell by its number."""
    table = table.sort_values("panel", kind="stable")
    ends = np.searchsorted(table["panel"].to_numpy(), range(panels + 1))
    lists = table.drop(columns=["panel", "backend", "mode"]).to_dict("list")
    columns = {str(name): [_short(value) for value in values] for name, values in lists.items()}
    columns["cell"] = [numbers[key] for key in zip(table["panel"], table["cell"], strict=True)]
    return [{name: values[begin:end] for name, values in columns.items()} for begin, end in pairwise(ends)]


def _short(value: Any) -> Any:
    """A number with no more digits than can be seen in a chart; None for what JSON does not have."""
    if not isinstance(value, float):
        return value
    rounded = float(f"{value:.{DIGITS}g}")
    return rounded if math.isfinite(rounded) else None


def _chart(chart: Chart, results: Results) -> dict[str, Any]:
    spec = specification(chart, list(results.runs["backend"]))
    return {"title": chart.title, "caption": chart.caption, "row_per_cell": chart.row_per_cell, "spec": spec}


def _columns() -> Iterator[tuple[str, str, bool]]:
    """Key, heading, and whether it is a number, of every column of the page's table."""
    yield from ((name, name.replace("_", " "), False) for name in TEXT_COLUMNS)
    for metric in metrics.METRICS:
        yield metric.column, metric.heading, True
        if metric is metrics.THROUGHPUT:
            yield "ratio", "times the baseline", True
        if metric is metrics.FIRST_STEP:
            yield metrics.PAID_BACK.column, metrics.PAID_BACK.heading, True
    yield "work", "equal work", False
    yield "status", "status", False


CELL = ["panel", "cell"]


def _rows(results: Results, intervals: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per cell, over all its runs: texts, and pairs of number and text."""
    runs = results.runs
    figures = _figures(runs[runs["status"] == "ok"], intervals)
    for key, pair in _paid_back(results).items():
        figures[key][metrics.PAID_BACK.column] = pair
    of_cell: dict[tuple[int, str], list[Any]] = {}
    run: Any
    for run in runs[[*CELL, "status", "equal_work", "failed_rung"]].itertuples(index=False):
        of_cell.setdefault((run.panel, run.cell), []).append(run)
    steps = judged(runs, CELL)
    return [
        {
            **{name: str(run[name]) for name in TEXT_COLUMNS},
            **NO_FIGURES,
            **figures.get((run["panel"], run["cell"]), {}),
            "panel": run["panel"],
            "cell": run["cell"],
            "work": _work(of_cell[run["panel"], run["cell"]], steps.get((run["panel"], run["cell"]), "")),
            "status": _statuses(of_cell[run["panel"], run["cell"]]),
        }
        for run in runs.drop_duplicates(CELL)[[*CELL, *TEXT_COLUMNS]].to_dict("records")
    ]


NO_FIGURES = {metric.column: [None, metric.written(None)] for metric in (*metrics.METRICS, metrics.PAID_BACK)}


def _figures(ok: pd.DataFrame, intervals: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, list[Any]]]:
    """The metrics of each cell: medians over its runs that are ok, and the throughput with its interval."""
    columns = [metric.column for metric in metrics.METRICS]
    medians = ok.astype(dict.fromkeys(columns, float)).groupby(CELL)[columns].median()
    figures: dict[tuple[Any, ...], dict[str, list[Any]]] = {}
    for key, *values in medians.itertuples(name=None):
        pairs = zip(metrics.METRICS, values, strict=True)
        figures[key] = {metric.column: [value, metric.written(value)] for metric, value in pairs}
    written = metrics.THROUGHPUT.written
    for *key, value, low, high in intervals[[*CELL, "throughput", "low", "high"]].itertuples(index=False, name=None):
        text = f"{written(value)} ({written(low)} to {written(high)})"
        figures[tuple(key)][metrics.THROUGHPUT.column] = [value, text]
    for name, own in ok[ok["compiler_cache"] != ""].groupby(CELL):
        figures[name][metrics.FIRST_STEP.column] = _first_step(own)
    return figures


def _first_step(ok: pd.DataFrame) -> list[Any]:
    """What is usual, and what the processes took that found nothing compiled."""
    metric = metrics.FIRST_STEP
    cold = ok["compiler_cache"] == "cold"
    seconds = ok[metric.column].astype(float)
    if cold.all() or not cold.any():
        return [seconds.median(), metric.written(seconds.median())]
    warm = seconds[~cold].median()
    return [warm, f"{metric.written(warm)} (with a cold cache {metric.written(seconds[cold].median())})"]


def _paid_back(results: Results) -> dict[tuple[int, str], list[Any]]:
    """By panel and cell: after how many epochs compilation is paid back, as a number and as a text."""
    found = paid_back(results.runs, results.windows).merge(results.runs[["panel", *GROUP]].drop_duplicates(), on=GROUP)
    columns = found[["panel", "backend", "mode", "epochs", metrics.PAID_BACK.column]]
    return {
        (panel, f"{backend} {mode}"): [epochs, text]
        for panel, backend, mode, epochs, text in columns.itertuples(index=False, name=None)
    }


def _statuses(runs: list[Any]) -> str:
    """How many of a cell's runs ended how, the most frequent first."""
    counts = Counter(run.status for run in runs)
    return ", ".join(f"{number} {status}" for status, number in counts.most_common())


def _work(runs: list[Any], steps: str) -> str:
    """The badge of the ladder: what did other work even once is not equal, whatever its other runs did."""
    other = [run.failed_rung for run in runs if run.equal_work is False]
    if other:
        return f"no: {other[0] or 'cross-checks'}"
    return f"yes{_on(steps)}" if any(run.equal_work is True for run in runs) else "not proved"


def _ratios(results: Results, baseline: tuple[str, str]) -> dict[int, dict[str, dict[str, Any]]]:
    """By panel, baseline and cell: the ratio, how it is written, and the sentence about it; the default first."""
    compared = compare_all(results.runs, results.windows)
    compared = compared.merge(results.runs[["panel", *GROUP]].drop_duplicates(), on=GROUP)
    found: dict[int, dict[str, dict[str, Any]]] = {}
    default = " ".join(baseline)
    steps = judged(results.runs, "panel")
    row: Any
    for row in compared.itertuples():
        against, cell = f"{row.baseline_backend} {row.baseline_mode}", f"{row.backend} {row.mode}"
        entry = _ratio_entry(cell, against, Ratio(row.ratio, row.low, row.high), row.note, steps.get(row.panel, ""))
        found.setdefault(row.panel, {}).setdefault(against, {})[cell] = entry
    return {
        panel: {name: by[name] for name in sorted(by, key=lambda name: name != default)} for panel, by in found.items()
    }


def _on(steps: str) -> str:
    """What stands after what is said of work: on how many steps it was proved, if that is known."""
    return f" on {steps}" if steps else ""


def _ratio_entry(cell: str, against: str, ratio: Ratio, note: str, steps: str) -> dict[str, Any]:
    interval = "" if math.isnan(ratio.low) else f" ({_times(ratio.low)} to {_times(ratio.high)})"
    sure = not math.isnan(ratio.low) and not ratio.low <= 1 <= ratio.high
    sentence = ""
    if cell != against:
        settings = f"; effective settings differ: {note}" if note else ""
        if sure:
            sentence = f"{cell} trains {_times(ratio.value)}x as many samples/s as {against}{interval}"
        else:
            known = f"{_times(ratio.value)}x{interval or ', one round'}"
            sentence = f"Nobody can tell whether {cell} or {against} trains faster: {known}"
        sentence += f"; same losses within rounding{_on(steps)}{settings}."
    text = f"{_times(ratio.value)}x{interval}"
    return {"ratio": _finite(ratio.value), "text": text, "sentence": sentence, "sure": sure}


def _bests(results: Results) -> dict[int, dict[str, list[dict[str, Any]]]]:
    """By panel and backend of the baseline: sentences about the other backends, each at its best."""
    found = best_all(results.runs, results.windows).merge(results.runs[["panel", *GROUP]].drop_duplicates(), on=GROUP)
    sentences: dict[int, dict[str, list[dict[str, Any]]]] = {}
    steps = judged(results.runs, "panel")
    row: Any
    for row in found.itertuples():
        entry = _ratio_entry(
            f"{row.backend} at its best ({row.mode})",
            f"{row.baseline_backend} at its best ({row.baseline_mode})",
            Ratio(row.ratio, row.low, row.high),
            "",
            steps.get(row.panel, ""),
        )
        told = {"sentence": entry["sentence"], "sure": entry["sure"]}
        sentences.setdefault(row.panel, {}).setdefault(row.baseline_backend, []).append(told)
    return sentences


def _times(ratio: float) -> str:
    """Two decimals, or as many as a small ratio needs."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3g}"


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
