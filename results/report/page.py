"""The page: what the panels hold as text, data and specifications, filled into one HTML file."""

from __future__ import annotations

import base64
import importlib.resources
import json
import math
from collections.abc import Iterator, Sequence
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
from results.report.charts import CHARTS, specification
from results.report.panels import Panel, Results, label, panels
from results.statistics import BASELINE, GROUP, Ratio, compare_all
from results.tables import write_text

LOG_CHARACTERS = 3000
"""Of the end of a failed run's log."""

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
    found = panels(results)
    ratios = _ratios(results, baseline)
    sessions = list(dict.fromkeys(results.runs["session"]))
    runs = results.runs
    bad = runs[(runs["status"] != "ok") | runs["comparable"].eq(False)]
    return template("page.html.jinja").render(
        title=f"lockstep: {', '.join(dict.fromkeys(runs['experiment']))}"[:120],
        subtitle=f"{len(runs)} runs of {_count(len(found), 'comparison')}, {_count(len(sessions), 'session')}: "
        f"{', '.join(sessions[:5])}; {runs['machine'].iloc[0].get('cpu', '')}",
        advice=advice(runs),
        metrics=metrics.METRICS,
        problems=list(_problems(bad.head(MOST_PROBLEMS), results.folder)),
        missing=_missing(runs),
        commands=list(dict.fromkeys(runs["command"].dropna())),
        facts=_facts(runs),
        experiments=_experiments(runs),
        data=_script_safe(_data(found, ratios, baseline)),
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
        "vega": vl_convert.javascript_bundle().replace("</script", "<\\/script"),
        "datatables": base64.b64encode(tables.joinpath("dt_bundle.js").read_bytes()).decode(),
        "table_css": tables.joinpath("dt_bundle.css").read_text("utf-8"),
    }


def _script_safe(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# --- the data of the page's script ---------------------------------------------------------------------------------


def _data(found: Sequence[Panel], ratios: dict[tuple[Any, ...], Any], baseline: tuple[str, str]) -> dict[str, Any]:
    specs: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    described = []
    for panel in found:
        own = _rows(panel)
        rows += own
        described.append(
            {
                "label": panel.label,
                "ratios": ratios.get(tuple(panel.runs.iloc[0][GROUP]), {}),
                "left_out": [f"{row['cell']}: left out of every ratio, {row['why']}" for row in own if row["why"]],
                "charts": _charts(panel, specs),
            }
        )
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    default = " ".join(baseline)
    return {
        "columns": [{"key": key, "title": title, "number": number} for key, title, number in _columns()],
        "rows": [_finite({name: value for name, value in row.items() if name != "why"}) for row in rows],
        "panels": described,
        "specs": [json.loads(spec) for spec in specs],
        "charts": {chart.name: {"title": chart.title, "caption": chart.caption} for chart in CHARTS},
        "baselines": cells,
        "baseline": default if default in cells else cells[0],
    }


def _columns() -> Iterator[tuple[str, str, bool]]:
    """Key, heading, and whether it is a number, of every column of the page's table."""
    yield from ((key, title, False) for key, title in TEXT_COLUMNS.items())
    for metric in metrics.METRICS:
        yield metric.column, metric.heading, True
        if metric is metrics.THROUGHPUT:
            yield "ratio", "times the baseline", True
    yield "work", "equal work", False
    yield "status", "status", False


def _rows(panel: Panel) -> list[dict[str, Any]]:
    """A row per cell of the panel, over all its runs: texts, and pairs of number and text."""
    intervals = panel.throughputs.set_index("cell")
    rows = []
    for cell, runs in panel.runs.groupby("cell", sort=False):
        row: dict[str, Any] = {key: str(runs[key].iloc[0]) for key in TEXT_COLUMNS}
        ok = runs[runs["status"] == "ok"]
        for metric in metrics.METRICS:
            value = ok[metric.column].astype(float).median()
            row[metric.column] = [value, metric.written(value)]
        if cell in intervals.index:
            value, low, high = (intervals.loc[cell, name] for name in ("samples_per_second", "low", "high"))
            written = metrics.THROUGHPUT.written
            row[metrics.THROUGHPUT.column] = [value, f"{written(value)} ({written(low)} to {written(high)})"]
        counts = ", ".join(f"{count} {status}" for status, count in runs["status"].value_counts().items())
        row |= {"cell": str(cell), "panel": panel.number, "work": _work(runs), "status": counts}
        row["why"] = "" if cell in intervals.index else f"{row['work']}; runs: {counts}"
        rows.append(row)
    return rows


def _work(runs: pd.DataFrame) -> str:
    """The badge of the ladder."""
    if runs["comparable"].eq(False).any():
        rungs = runs.loc[runs["comparable"].eq(False), "rung"].replace("", "cross-checks")
        return f"no: {rungs.iloc[0]}"
    return "yes" if runs["comparable"].eq(True).any() else "not proved"


def _ratios(results: Results, baseline: tuple[str, str]) -> dict[tuple[Any, ...], dict[str, dict[str, Any]]]:
    """By comparison, baseline and cell: the ratio, how it is written, and the sentence about it; the default first."""
    compared = compare_all(results.runs, results.windows)
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    default = " ".join(baseline)
    row: Any
    for row in compared.itertuples():
        key = tuple(getattr(row, name) for name in GROUP)
        against, cell = f"{row.baseline_backend} {row.baseline_mode}", f"{row.backend} {row.mode}"
        entry = _ratio_entry(cell, against, Ratio(row.ratio, row.low, row.high), row.note)
        found.setdefault(key, {}).setdefault(against, {})[cell] = entry
    return {
        key: {name: by[name] for name in sorted(by, key=lambda name: name != default)} for key, by in found.items()
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
            sentence = f"Nobody can tell whether {cell} or {against} trains faster: {ratio.value:.2f}x{interval or ', one round'}"
        sentence += f"; same losses within rounding{settings}."
    return _finite({"ratio": ratio.value, "text": f"{ratio.value:.2f}x{interval}", "sentence": sentence, "sure": sure})


def _charts(panel: Panel, specs: dict[str, int]) -> list[dict[str, Any]]:
    """The panel's charts; what they have in common with those of other panels is written once, in ``specs``."""
    described = []
    cells = list(dict.fromkeys(panel.runs["cell"]))
    for chart in CHARTS:
        drawn = chart.draw(panel)
        if drawn is None:
            continue
        spec = specification(drawn, cells)
        datasets = spec.pop("datasets")
        place = specs.setdefault(json.dumps(spec, allow_nan=False), len(specs))
        described.append({"name": chart.name, "spec": place, "datasets": datasets})
    return described


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: they become null."""
    return {name: _finite_value(value) for name, value in row.items()}


def _finite_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite_value(item) for item in value]
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
        (f"{run['backend']} {run['mode']}", ", ".join(f"{name}: {_fact(value)}" for name, value in run["settings"].items()))
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
