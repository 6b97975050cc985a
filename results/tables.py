"""The results as tables: what users get as DataFrames, as files, and as the summary at the end of a bench."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from results.baseline import BASELINE
from results.errors import StoreError
from results.metrics import FIRST_STEP, PEAK_MEMORY, TEST_ACCURACY, TEST_LOSS, THROUGHPUT
from results.overview import Field, left_out, not_run, of_row
from results.payback import paid_back
from results.record import Say, judged_text, threads_text, where_and_why
from results.statistics import GROUP, compare, throughputs
from results.store import Store

Format = Literal["csv", "json", "markdown", "parquet"]

IDENTITY = ("round", "experiment", "backend", "mode", "status")
COMPACT = (TEST_LOSS, TEST_ACCURACY, THROUGHPUT, FIRST_STEP)
"""Metrics in the table of runs in Markdown, after its identity."""

EXPERIMENTS = (TEST_ACCURACY, TEST_LOSS, THROUGHPUT)
"""The same where experiments are put beside each other."""

CELL = [*GROUP, "backend", "mode"]
"""What makes two runs repetitions of each other."""

COMPARISON = ["label", "device", "threads_asked", "replicas", "stock", "node"]
"""Columns of the summary that tell its comparisons apart."""

AT_ITS_BEST = "Each at its best, mode chosen on other rounds"


def runs_table(store: Store, session: str | None = None) -> pd.DataFrame:
    """One row per run, every column of the record; nested values are JSON text."""
    runs = store.runs(session)
    for column in ("settings", "machine", "ladder", "parting", "gpu", "confusion", "models"):
        runs[column] = runs[column].map(lambda value: json.dumps(value, sort_keys=True))
    return runs


def exclusions(runs: pd.DataFrame, say: Say = str) -> list[str]:
    """Say how many runs do not count any more, a sentence for each reason."""
    reasons = runs.loc[runs["excluded"] != "", "excluded"].value_counts(sort=False)
    patterns = {True: say("excluded: {count} run: {why}"), False: say("excluded: {count} runs: {why}")}
    return [patterns[count == 1].format(count=count, why=why) for why, count in reasons.items()]


def summary_table(runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str] = BASELINE) -> pd.DataFrame:
    """One row per cell: medians over its runs that are ok, its throughput, what ``compare`` and ``paid_back`` found.

    The first step is that of runs which found nothing compiled.
    """
    table = _medians(runs).merge(compare(runs, windows, baseline), on=CELL, how="left")
    speeds = throughputs(runs, windows)[[*CELL, "samples_per_second"]]
    table = table.merge(speeds, on=CELL, how="left")
    paid = paid_back(runs, windows).rename(columns={"epochs": "paid_epochs", "epochs_warm": "paid_epochs_warm"})
    table = table.merge(paid, on=CELL, how="left")
    # A cell that is left out of every ratio has no other throughput than its runs' median.
    table[THROUGHPUT.column] = table.pop("samples_per_second").fillna(table[THROUGHPUT.column])
    return table


def _medians(runs: pd.DataFrame) -> pd.DataFrame:
    """What the summary has of each cell's own runs; all cells at once, as there may be thousands."""
    columns = [metric.column for metric in (TEST_LOSS, TEST_ACCURACY, THROUGHPUT, FIRST_STEP, PEAK_MEMORY)]
    cell = runs.groupby(CELL, sort=False, dropna=False).ngroup()
    table = runs.loc[~cell.duplicated(), [*CELL, "sweep_point"]].reset_index(drop=True)
    table["label"] = (table["experiment"] + " " + table["sweep_point"]).str.strip()
    values, ok = runs[columns].astype(float), runs["status"].eq("ok")
    table[columns] = values[ok].groupby(cell).median().reindex(table.index)
    anew = ok & runs["compiler_cache"].ne("warm")
    first = values.loc[anew, FIRST_STEP.column].groupby(cell).median()
    table[FIRST_STEP.column] = first.reindex(table.index).fillna(table[FIRST_STEP.column])
    steps, proved = ["judged_steps", "epochs", "steps_per_epoch"], runs["equal_work"].eq(True)
    table[steps] = runs.loc[proved, steps].astype(float).groupby(cell).min().reindex(table.index)
    table["equal_work"] = table.index.isin(cell[proved])
    out: dict[int, Field | None] = {}
    problems: dict[int, str] = {}
    bad = cell[~ok | runs["equal_work"].eq(False)]
    for number, own in runs[cell.isin(bad)].groupby(cell):
        out[int(str(number))], problems[int(str(number))] = left_out(list(own.itertuples())), _problems(own)
    table["left_out"] = pd.Series([out.get(number) for number in table.index], dtype=object)
    return table.assign(problems=[problems.get(number, "") for number in table.index])


def experiments_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Experiments beside each other, a row per experiment, backend and mode: medians over the runs that are ok.

    ``runs`` have a ``title`` besides the columns of the record. The values are texts.
    """
    rows = []
    for (title, backend, mode), cell in runs[runs["status"] == "ok"].groupby(["title", "backend", "mode"], sort=False):
        medians = cell[[metric.column for metric in EXPERIMENTS]].astype(float).median()
        texts = {metric.heading: metric.written(medians[metric.column]) for metric in EXPERIMENTS}
        size = {"parameters": f"{cell['parameters'].iloc[0]:,}", "epochs": str(cell["epochs"].iloc[0])}
        rows.append({"experiment": title, "backend and mode": f"{backend} {mode}", **size, **texts})
    return pd.DataFrame(rows)


def title_of(cell: pd.Series) -> str:
    """What the comparison of a row of the summary is called."""
    machine = f" on {cell['node']}" if cell["node"] else ""
    return f"{cell['label']} on {cell['device']}, {resources(cell)}{machine}"


def heading_of(cells: pd.DataFrame) -> str:
    """The title of a comparison, and on how many steps equal work was proved; ``cells`` are rows of the summary."""
    return "; ".join(
        [title_of(cells.iloc[0]), *(f"equal work on {steps}" for steps in judged(cells, "label").values())]
    )


def proved_text(summary: pd.DataFrame) -> str:
    """On how many steps of each comparison equal work was proved; empty if no row says so."""
    firsts = summary.drop_duplicates(GROUP)
    named = summary.merge(firsts[GROUP].assign(title=titles(firsts)), on=GROUP)
    told = [f"{steps} of {title}" for title, steps in judged(named, "title").items()]
    return f"equal work proved on {', '.join(told)}" if told else ""


def judged(rows: pd.DataFrame, by: str | list[str], say: Say = str) -> dict[Any, str]:
    """By some columns: on how many steps the work of all that did equal work was proved.

    ``rows`` are runs, or rows of the summary; what proved nothing is not in it.
    """
    proved = rows[rows["equal_work"].eq(True)].dropna(subset=["judged_steps", "epochs", "steps_per_epoch"])
    steps = proved["epochs"].astype(float) * proved["steps_per_epoch"].astype(float)
    least = proved.assign(steps=steps).groupby(by, sort=False)[["judged_steps", "steps"]].min()
    return {key: judged_text(judged_steps, steps, say) for key, judged_steps, steps in least.itertuples(name=None)}


def overview_table(summary: pd.DataFrame, say: Say = str) -> pd.DataFrame:
    """Every mode against the baseline in two or three words, a row per mode and a column per comparison."""
    firsts = summary.drop_duplicates(GROUP)
    named = summary.merge(firsts[GROUP].assign(title=titles(firsts)), on=GROUP)
    cells = (named["backend"] + " " + named["mode"]).rename("backend and mode")
    fields = named.assign(field=[of_row(row, say).plain for row in named.itertuples()])
    wide = fields.set_index([cells, "title"])["field"].unstack(fill_value=not_run(say).plain)
    return wide.loc[list(dict.fromkeys(cells)), list(dict.fromkeys(named["title"]))].reset_index()


def best_texts(found: pd.DataFrame) -> pd.DataFrame:
    """Frameworks at their best, as people read them; ``found`` is made by ``best.best``, the values are texts.

    Of one round, there are no other ones to choose a mode on, and nothing to say.
    """
    found = found.dropna(subset=["low"])
    return pd.DataFrame(
        {
            "backend and mode": found["backend"] + " " + found["mode"],
            "than": found["baseline_backend"] + " " + found["baseline_mode"],
            "verdict": found["verdict"],
        }
    )


def resources(run: Any, say: Say = str) -> str:
    """Threads, replicas where there are several, and whether it is stock, of a run or of a row of the summary."""
    parts = [threads_text(run["threads_asked"], say)]
    if run["replicas"] > 1:
        parts.append(say("{number} replicas").format(number=run["replicas"]))
    return ", ".join([*parts, *([say("stock")] if run["stock"] else [])])


def titles(rows: pd.DataFrame) -> list[str]:
    """What each comparison is called beside the others: its label, and what else tells them apart.

    ``rows`` are runs, or rows of the summary, one of each comparison.
    """
    told = told_stock(rows).assign(threads_asked=rows["threads_asked"].map(threads_text))
    told["replicas"] = rows["replicas"].map(lambda number: f"{number} replicas" if number > 1 else "")
    others = ("device", "threads_asked", "precision_asked", "replicas", "stock", "node")
    parts = [told["experiment"], told["sweep_point"], *(told[name] for name in others if told[name].nunique() > 1)]
    return [" ".join(str(part) for part in row if part) for row in zip(*parts, strict=True)]


def told_stock(runs: pd.DataFrame) -> pd.DataFrame:
    """The same runs with the word in the column ``stock``, or nothing where they are tuned."""
    return runs.assign(stock=runs["stock"].map({True: "stock", False: ""}))


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, its texts escaped."""
    escaped = table.map(lambda value: str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " "))
    return str(escaped.to_markdown(index=False, disable_numparse=True))


def _problems(cell: pd.DataFrame) -> str:
    """How many runs ended otherwise than ok, and why the first of them did."""
    counts = cell.loc[cell["status"] != "ok", "status"].value_counts()
    if counts.empty:
        return ""
    first = cell[cell["status"] != "ok"].iloc[0]
    found = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{found} of {len(cell)} runs; {where_and_why(first['phase'], first['reason'])}"


def export(store: Store) -> list[Path]:
    """Write CSV and Parquet copies of all tables beside the store; return their paths. Raises StoreError."""
    tables = {
        "runs": runs_table(store),
        "epochs": store.epochs(),
        "windows": store.windows(),
        "steps": store.steps(),
    }
    paths = []
    for name, table in tables.items():
        csv, parquet = store.folder / f"{name}.csv", store.folder / f"{name}.parquet"
        write(table, "csv", csv)
        write(table, "parquet", parquet)
        paths += [csv, parquet]
    return paths


def write(table: pd.DataFrame, form: Format, path: Path) -> None:
    """Write a table to a file, whole or not at all; raises StoreError if it cannot be written."""
    if form == "parquet":
        content = BytesIO()  # not the path: pyarrow takes no name that is not UTF-8
        table.to_parquet(content, index=False)
        _write(path, lambda part: part.write_bytes(content.getvalue()))
    else:
        write_text(text(table, form), path)


def write_text(content: str, path: Path) -> None:
    """Write a text to a file, whole or not at all; raises StoreError if it cannot be written."""
    _write(path, lambda part: part.write_text(content, encoding="utf-8"))


def _write(path: Path, write_part: Callable[[Path], object]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write_part(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{path}: {error.strerror or error}") from None


def text(runs: pd.DataFrame, form: Literal["csv", "json", "markdown"]) -> str:
    """A table of runs as text; Markdown holds the compact columns only."""
    if form == "csv":
        return runs.to_csv(index=False)
    if form == "json":
        return runs.to_json(orient="records", indent=2) + "\n"
    shown = runs[list(IDENTITY)].copy()
    for metric in COMPACT:
        shown[metric.heading] = runs[metric.column].map(metric.written)
    return markdown(shown) + "\n"
