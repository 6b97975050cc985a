"""The results as tables: what users get as DataFrames, as files, and as the summary at the end of a bench."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import pandas as pd

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

CELL = ["experiment", "backend", "mode", "device", "seed", "experiment_hash"]
"""What makes two runs repetitions of each other."""


def runs_table(store: Store, session: str | None = None) -> pd.DataFrame:
    """One row per run, every column of the record; nested values are JSON text."""
    runs = store.runs(session)
    for column in ("settings", "machine", "ladder"):
        runs[column] = runs[column].map(lambda value: json.dumps(value, sort_keys=True))
    return runs


def summary_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: medians over its runs that are ok, and the spread of the throughput among them."""
    rows = []
    for _, cell in runs.groupby(CELL, sort=False, dropna=False):
        ok = cell[cell["status"] == "ok"]
        throughput = ok["train_samples_per_second"]
        counts = cell["status"].value_counts()
        rows.append(
            {
                "experiment": cell["experiment"].iloc[0],
                "backend": cell["backend"].iloc[0],
                "mode": cell["mode"].iloc[0],
                "device": cell["device"].iloc[0],
                "status": ", ".join(f"{count} {status}" for status, count in counts.items()),
                "test_loss": ok["test_loss"].median(),
                "test_accuracy": ok["test_accuracy"].median(),
                "samples_per_second": throughput.median(),
                "spread": (throughput.max() - throughput.min()) / throughput.median(),
                "first_step_seconds": ok["first_step_seconds"].median(),
                "peak_memory_bytes": ok["peak_memory_bytes"].median(),
            }
        )
    return pd.DataFrame(rows)


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
