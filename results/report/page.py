"""The page: what the panels hold as text, data and specifications, filled into one HTML file."""

from __future__ import annotations

import base64
import importlib.resources
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import itables
import jinja2
import pandas as pd
import tomli_w
import vl_convert

from results import metrics
from results.advice import advice
from results.report.charts import CHARTS, ROW_HEIGHT, Chart, drawn, specification
from results.report.panels import Results, label
from results.report.rows import chart_tables
from results.statistics import BASELINE, GROUP, Ratio, compare_all
from results.tables import write_text

LOG_CHARACTERS = 3000
"""Of the end of a failed run's log."""

DIGITS = 5
"""Significant digits of numbers in a chart."""

MOST_PROBLEMS = 200
"""Runs that are told one by one; the table counts them all."""

TEXT_COLUMNS = {"experiment": "experiment", "point": "point", "device": "device", "backend": "backend", "mode": "mode"}
OWN = Path(__file__).parent


@dataclass(frozen=True)
class Table:
    """A small table of facts."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def write(results: Results, path: Path, baseline: tuple[str, str] = BASELINE) -> None:
    """Write the report of some sessions; raises StoreError if the file cannot be written."""
    write_text(render(results, baseline), path)


def render(results: Results, baseline: tuple[str, str] = BASELINE) -> str:
    """Make the HTML page; ``baseline`` is what ratios are taken against until the reader picks another cell."""
    runs = results.runs
    sessions = list(dict.fromkeys(runs["session"]))
    bad = runs[(runs["status"] != "ok") | runs["comparable"].eq(False)]
    return template("page.html.jinja").render(
        title=f"lockstep: {', '.join(dict.fromkeys(runs['experiment']))}"[:120],
        subtitle=f"{len(runs)} runs of {_count(len(results.labels), 'comparison')}, "
        f"{_count(len(sessions), 'session')}: {', '.join(sessions[:5])}; {runs['machine'].iloc[0].get('cpu', '')}",
        advice=advice(runs),
        metrics=metrics.METRICS,
        problems=list(_problems(bad.head(MOST_PROBLEMS), results.folder)),
        missing=_missing(runs),
        commands=list(dict.fromkeys(runs["command"].dropna())),
        facts=_facts(runs),
        experiments=_experiments(runs),
        data=_script_safe(_data(results, baseline)),
        **_scripts(),
    )


def template(name: str) -> jinja2.Template:
    """A page's template, which escapes everything that it is not told to trust; ``css`` is known in it."""
    loader = jinja2.PackageLoader("results.report", package_path=".")
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    pages.globals["css"] = (OWN / "page.css").read_text("utf-8")
    return pages.get_template(name)


def _scripts() -> dict[str, str]:
    """Scripts, ours and the libraries', and the table's style, all to be put inside the page."""
    tables = importlib.resources.files(itables) / "html"
    return {
        "script": (OWN / "page.js").read_text("utf-8"),
        "vega": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"),
        "datatables": base64.b64encode(tables.joinpath("dt_bundle.js").read_bytes()).decode(),
        "table_css": tables.joinpath("dt_bundle.css").read_text("utf-8"),
    }


def _script_safe(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# --- the data of the page's script ---------------------------------------------------------------------------------


def _data(results: Results, baseline: tuple[str, str]) -> dict[str, Any]:
    tables = chart_tables(results)
    ratios = _ratios(results, baseline)
    rows = _rows(results, tables["intervals"])
    rows_of: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        rows_of.setdefault(row["panel"], []).append(row)
    parts = {name: dict(iter(table.groupby("panel"))) for name, table in tables.items()}
    panels = []
    for panel, name in enumerate(results.labels):
        cells = rows_of[panel]
        compared = ratios.get(panel, {})
        own = {name: part.get(panel, tables[name].iloc[:0]) for name, part in parts.items()}
        numbers = {cell["cell"]: number for number, cell in enumerate(cells)}
        panels.append(
            {
                "label": name,
                "cells": [{name: cell[name] for name in ("cell", "backend", "mode")} for cell in cells],
                "left_out": [
                    f"{cell['cell']}: left out of every ratio; equal work: {cell['work']}; runs: {cell['status']}"
                    for cell in cells
                    if cell["cell"] not in compared
                ],
                "ratios": compared,
                "charts": [chart.name for chart in drawn(own)],
                "tables": {name: _by_column(table, numbers) for name, table in own.items()},
            }
        )
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


def _by_column(table: pd.DataFrame, numbers: dict[str, int]) -> dict[str, list[Any]]:
    """The values of each column; the page knows backend and mode of a cell by its number."""
    columns = table.drop(columns=["panel", "backend", "mode"]).to_dict("list")
    columns["cell"] = [numbers[cell] for cell in columns["cell"]]
    return {str(name): [_short(value) for value in values] for name, values in columns.items()}


def _short(value: Any) -> Any:
    """A number with no more digits than can be seen in a chart."""
    return _finite(float(f"{value:.{DIGITS}g}")) if isinstance(value, float) else value


def _chart(chart: Chart, results: Results) -> dict[str, Any]:
    spec = specification(chart, list(results.runs["backend"]))
    return {"title": chart.title, "caption": chart.caption, "row_per_cell": chart.row_per_cell, "spec": spec}


def _columns() -> Iterator[tuple[str, str, bool]]:
    """Key, heading, and whether it is a number, of every column of the page's table."""
    yield from ((key, title, False) for key, title in TEXT_COLUMNS.items())
    for metric in metrics.METRICS:
        yield metric.column, metric.heading, True
        if metric is metrics.THROUGHPUT:
            yield "ratio", "times the baseline", True
    yield "work", "equal work", False
    yield "status", "status", False


CELL = ["panel", "cell"]


def _rows(results: Results, intervals: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per cell, over all its runs: texts, and pairs of number and text."""
    runs = results.runs
    figures = _figures(runs[runs["status"] == "ok"], intervals)
    statuses = _by_cell(
        runs, lambda own: ", ".join(f"{n} {status}" for status, n in own["status"].value_counts().items())
    )
    work = _by_cell(runs, _work)
    return [
        {
            **{name: str(run[name]) for name in TEXT_COLUMNS},
            **figures.get((run["panel"], run["cell"]), NO_FIGURES),
            "panel": run["panel"],
            "cell": run["cell"],
            "work": work[run["panel"], run["cell"]],
            "status": statuses[run["panel"], run["cell"]],
        }
        for run in runs.drop_duplicates(CELL)[[*CELL, *TEXT_COLUMNS]].to_dict("records")
    ]


def _by_cell(runs: pd.DataFrame, describe: Callable[[pd.DataFrame], str]) -> dict[tuple[Any, ...], str]:
    return {key: describe(own) for key, own in runs.groupby(CELL, sort=False)}


NO_FIGURES = {metric.column: [None, metric.written(None)] for metric in metrics.METRICS}


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


def _work(runs: pd.DataFrame) -> str:
    """The badge of the ladder: what did other work even once is not equal, whatever its other runs did."""
    if runs["comparable"].eq(False).any():
        return f"no: {runs.loc[runs['comparable'].eq(False), 'rung'].iloc[0] or 'cross-checks'}"
    return "yes" if runs["comparable"].eq(True).any() else "not proved"


def _ratios(results: Results, baseline: tuple[str, str]) -> dict[int, dict[str, dict[str, Any]]]:
    """By panel, baseline and cell: the ratio, how it is written, and the sentence about it; the default first."""
    compared = compare_all(results.runs, results.windows)
    compared = compared.merge(results.runs[["panel", *GROUP]].drop_duplicates(), on=GROUP)
    found: dict[int, dict[str, dict[str, Any]]] = {}
    default = " ".join(baseline)
    row: Any
    for row in compared.itertuples():
        against, cell = f"{row.baseline_backend} {row.baseline_mode}", f"{row.backend} {row.mode}"
        entry = _ratio_entry(cell, against, Ratio(row.ratio, row.low, row.high), row.note)
        found.setdefault(row.panel, {}).setdefault(against, {})[cell] = entry
    return {
        panel: {name: by[name] for name in sorted(by, key=lambda name: name != default)} for panel, by in found.items()
    }


def _ratio_entry(cell: str, against: str, ratio: Ratio, note: str) -> dict[str, Any]:
    interval = "" if math.isnan(ratio.low) else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    sure = not math.isnan(ratio.low) and not ratio.low <= 1 <= ratio.high
    sentence = ""
    if cell != against:
        settings = f"; effective settings differ: {note}" if note else ""
        if sure:
            sentence = f"{cell} trains {ratio.value:.2f}x as many samples/s as {against}{interval}"
        else:
            known = f"{ratio.value:.2f}x{interval or ', one round'}"
            sentence = f"Nobody can tell whether {cell} or {against} trains faster: {known}"
        sentence += f"; same losses within rounding{settings}."
    text = f"{ratio.value:.2f}x{interval}"
    return {"ratio": _finite(ratio.value), "text": text, "sentence": sentence, "sure": sure}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- what is plain text on the page ------------------------------------------------------------------------------


def _problems(bad: pd.DataFrame, folder: Path) -> Iterator[dict[str, str]]:
    for _, run in bad.iterrows():
        log = folder / run["log"]
        tail = log.read_text("utf-8", errors="replace")[-LOG_CHARACTERS:].strip() if log.is_file() else ""
        texts = {name: str(run[name]) for name in ("run", "status", "phase", "reason", "rung")}
        yield {**texts, "where": f"{run['backend']} {run['mode']}, {label(run)}, round {run['round']}", "log": tail}


def _missing(runs: pd.DataFrame) -> list[str]:
    """Cells of a session that have no row, although their mode and their experiment have rows."""
    found = []
    for session, own in runs.groupby("session", sort=False):
        modes = own[["backend", "mode"]].drop_duplicates().itertuples(index=False)
        comparisons = {label(group.iloc[0]): group for _, group in own.groupby(GROUP, sort=False)}
        for mode in modes:
            for name, group in comparisons.items():
                if not ((group["backend"] == mode.backend) & (group["mode"] == mode.mode)).any():
                    found.append(f"{mode.backend} {mode.mode}, {name}: no run in session {session}")
    return found


def _facts(runs: pd.DataFrame) -> list[Table]:
    machines = {json.dumps(machine, sort_keys=True): machine for machine in runs["machine"]}
    versions = runs[runs["framework"] != ""].drop_duplicates(["backend", "framework"])
    sessions = runs.groupby("session", sort=False)
    hashes = runs.drop_duplicates(GROUP)
    return [
        *(
            Table("Machine", ("fact", "value"), [(name, _fact(value)) for name, value in machine.items()])
            for machine in machines.values()
        ),
        Table("Frameworks", ("backend", "versions"), versions[["backend", "framework"]].to_numpy().tolist()),
        Table("Settings", ("backend and mode", "in force"), _settings(runs)),
        Table(
            "Sessions",
            ("session", "runs", "rounds", "threads asked", "precision asked"),
            [
                (str(name), str(len(own)), str(own["round"].max()), *_values(own, "threads_asked", "precision_asked"))
                for name, own in sessions
            ],
        ),
        Table(
            "Hashes (SHA-256)",
            ("experiment", "of the experiment", "of the data", "of the batches"),
            [
                (f"{row['experiment']} {row['point']}", row["experiment_hash"], row["data_hash"], row["batches_hash"])
                for _, row in hashes.iterrows()
            ],
        ),
        Table(
            "Backend files (SHA-256)",
            ("backend", "hash"),
            runs[["backend", "backend_hash"]].drop_duplicates().to_numpy().tolist(),
        ),
    ]


def _settings(runs: pd.DataFrame) -> list[tuple[str, str]]:
    firsts = runs[runs["settings"].map(bool)].drop_duplicates(["backend", "mode"])
    return [
        (
            f"{run['backend']} {run['mode']}",
            ", ".join(f"{name}: {_fact(value)}" for name, value in run["settings"].items()),
        )
        for _, run in firsts.iterrows()
    ]


def _values(own: pd.DataFrame, *columns: str) -> list[str]:
    return [", ".join(str(value) for value in dict.fromkeys(own[name])) for name in columns]


def _fact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _experiments(runs: pd.DataFrame) -> list[dict[str, str]]:
    """Each experiment as a file that can be run again."""
    firsts = runs.drop_duplicates("experiment_hash")
    return [
        {
            "label": f"{run['experiment']} {run['point']}".strip(),
            "toml": tomli_w.dumps(_without_nulls(json.loads(run["experiment_json"] or "{}"))),
        }
        for _, run in firsts.iterrows()
    ]


def _without_nulls(value: Any) -> Any:
    """TOML has no null: what is not set is left out."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
