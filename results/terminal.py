"""Tables in the terminal: they fit 80 columns, and need no colour to be read."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from results.advice import advice
from results.statistics import compare
from results.store import Store
from results.tables import summary_table


def print_session(store: Store, session: str, baseline: tuple[str, str], console: Console) -> None:
    """Print what a session found: a table per comparison, what ended otherwise, and how noisy it was."""
    runs = store.runs(session)
    compared = compare(runs, store.windows(session), baseline)
    for _, cells in summary_table(runs, compared).groupby(["label", "device"], sort=False):
        _print_cells(cells, console)
        console.print()
    console.print(
        "Medians over the runs of a cell. samples/s: training in steady state. The last column: ratio of the "
        "throughput, with its 95 % interval over rounds of fresh processes."
    )
    for sentence in advice(runs):
        console.print(f"noise: {sentence}", markup=False, highlight=False)


def _print_cells(cells: pd.DataFrame, console: Console) -> None:
    """Print a row per backend and mode of one comparison."""
    first = cells.iloc[0]
    regression = cells["test_accuracy"].isna().all()
    table = _table(f"{first['label']} on {first['device']}, {first['threads_asked']} threads")
    table.add_column("backend and mode", overflow="fold")
    for heading in ("test loss" if regression else "accuracy", "samples/s", "1st step"):
        table.add_column(heading, justify="right", no_wrap=True)
    baselines = cells[["baseline_backend", "baseline_mode"]].dropna()
    table.add_column(f"than {' '.join(baselines.iloc[0])}" if len(baselines) else "", overflow="fold")
    cell: Any
    for cell in cells.itertuples():
        table.add_row(
            escape(f"{cell.backend} {cell.mode}"),
            number(cell.test_loss, ".4g") if regression else number(cell.test_accuracy, ".1%"),
            number(cell.samples_per_second, ",.0f"),
            number(cell.first_step_seconds, ".2f", " s"),
            escape("not compared" if pd.isna(cell.verdict) else cell.verdict),
        )
    console.print(table)
    for cell in cells.itertuples():
        for remark in (cell.problems, cell.note):
            if isinstance(remark, str) and remark:
                console.print(f"{cell.backend} {cell.mode}: {remark}", markup=False, highlight=False, soft_wrap=True)


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
    return Table(
        title=title and escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
