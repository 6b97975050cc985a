"""The results as tables: what users get as DataFrames, as files, and as the summary at the end of a bench."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import pandas as pd

from results.statistics import GROUP
from results.store import Store, StoreError

Format = Literal["csv", "json", "markdown", "parquet"]

COMPACT = {
    "round": "round",
    "experiment": "experiment",
    "backend": "backend",
    "mode": "mode",
    "status": "status",
    "test_loss": "test loss",
    "test_accuracy": "accuracy",
    "train_samples_per_second": "samples/s",
    "first_step_seconds": "first step s",
}
"""Columns of the table of runs in Markdown, and their headings."""

NARROW = {
    "round": "#",
    "experiment": "experiment",
    "backend": "backend",
    "mode": "mode",
    "status": "status",
    "test_accuracy": "accuracy",
    "train_samples_per_second": "samples/s",
}
"""The same in a terminal of 80 columns."""

CELL = [*GROUP, "backend", "mode"]
"""What makes two runs repetitions of each other."""


def runs_table(store: Store, session: str | None = None) -> pd.DataFrame:
    """One row per run, every column of the record; nested values are JSON text."""
    runs = store.runs(session)
    for column in ("settings", "machine", "ladder", "gpu"):
        runs[column] = runs[column].map(lambda value: json.dumps(value, sort_keys=True))
    return runs


def summary_table(runs: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: medians over its runs that are ok, and what ``statistics.compare`` found."""
    rows = []
    for key, cell in runs.groupby(CELL, sort=False, dropna=False):
        ok = cell[cell["status"] == "ok"]
        medians = ok[["test_loss", "test_accuracy", "first_step_seconds", "peak_memory_bytes"]].astype(float).median()
        label = f"{cell['experiment'].iloc[0]} {cell['point'].iloc[0]}".strip()
        rows.append(
            {
                **dict(zip(CELL, key, strict=True)),
                "label": label,
                **medians,
                "samples_per_second": ok["train_samples_per_second"].astype(float).median(),
                "problems": _problems(cell),
            }
        )
    return pd.DataFrame(rows).merge(compared, on=CELL, how="left")


def _problems(cell: pd.DataFrame) -> str:
    """How many runs ended otherwise than ok, and why the first of them did."""
    counts = cell.loc[cell["status"] != "ok", "status"].value_counts()
    if counts.empty:
        return ""
    first = cell[cell["status"] != "ok"].iloc[0]
    found = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{found} of {len(cell)} runs; in {first['phase']}: {first['reason']}"


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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if form == "parquet":
            table.to_parquet(part, index=False)
        else:
            part.write_text(text(table, form), encoding="utf-8")
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
    compact = runs[list(COMPACT)].rename(columns=COMPACT)
    return str(compact.to_markdown(index=False, floatfmt=",.4g")) + "\n"
