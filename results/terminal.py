"""Tables in the terminal: they fit 80 columns, and need no colour to be read."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_summary(summary: pd.DataFrame, console: Console) -> None:
    """Print a table per experiment and device, a row per backend and mode: medians over the runs that are ok."""
    for (experiment, device), cells in summary.groupby(["experiment", "device"], sort=False):
        regression = cells["test_accuracy"].isna().all()
        table = _table(f"{experiment} on {device}")
        for heading in ("backend", "mode"):
            table.add_column(heading, no_wrap=True)
        table.add_column("runs", overflow="fold")
        for heading in ("test loss" if regression else "accuracy", "samples/s", "spread", "first step"):
            table.add_column(heading, justify="right", no_wrap=True)
        cell: Any
        for cell in cells.itertuples():
            table.add_row(
                escape(cell.backend),
                escape(cell.mode),
                cell.status,
                number(cell.test_loss, ".4g") if regression else number(cell.test_accuracy, ".1%"),
                number(cell.samples_per_second, ",.0f"),
                number(cell.spread, ".0%"),
                number(cell.first_step_seconds, ".2f", " s"),
            )
        console.print(table)
    console.print(
        "Medians over the runs of a cell. samples/s: training in steady state, without first step and evaluation; "
        "spread: (highest - lowest) / median."
    )


def print_runs(runs: pd.DataFrame, columns: dict[str, str], console: Console) -> None:
    """Print one row per run with the given columns and their headings."""
    forms = {
        "round": "d",
        "test_accuracy": ".1%",
        "train_samples_per_second": ",.0f",
    }
    table = _table(None)
    for name, heading in columns.items():
        table.add_column(
            heading, justify="right" if name in forms else "left", overflow="fold", no_wrap=name != "status"
        )
    for _, run in runs.iterrows():
        table.add_row(
            *(number(run[name], forms[name]) if name in forms else escape(str(run[name])) for name in columns)
        )
    console.print(table)


def number(value: Any, form: str, unit: str = "") -> str:
    """A number, or a dash where nothing was measured."""
    return "-" if pd.isna(value) else f"{value:{form}}{unit}"


def _table(title: str | None) -> Table:
    return Table(title=title and escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
