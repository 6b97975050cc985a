"""Tables in the terminal: they fit 80 columns, and need no colour to be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from results.advice import advice
from results.best import best
from results.highlights import highlights
from results.metrics import FIRST_STEP, PAID_BACK, TEST_ACCURACY, TEST_LOSS, THROUGHPUT
from results.overview import of_row, rests_on
from results.scaling import scaling_texts
from results.statistics import FOOTNOTE, GROUP, WITHOUT_INTERVAL, compare
from results.store import Store
from results.tables import (
    AT_ITS_BEST,
    COMPARISON,
    best_texts,
    exclusions,
    experiments_table,
    heading_of,
    overview_table,
    proved_text,
    resources,
    summary_table,
    title_of,
)

ACROSS = 4
"""Comparisons beside each other in 80 columns."""

MOST_COMPARISONS = 12
"""More are left to the report."""

MOST_HIGHLIGHTS = 4
"""So that the summary of a default bench fits 24 lines."""


def print_session(store: Store, session: str, baseline: tuple[str, str], console: Console) -> None:
    """Print what a session found: every mode in every comparison, what that rests on, and what stands out."""
    every = store.runs(session)
    runs = every[every["excluded"] == ""]
    if runs.empty:
        return
    windows = store.windows(session)
    summary = summary_table(runs, windows, baseline)
    _print_overview(summary, console)
    scaled = scaling_texts(runs)
    _print_scaling(scaled, console)
    told = [rests_on(runs, windows, compare(runs, windows, baseline)), proved_text(summary), *exclusions(every)]
    told += [highlight.text for highlight in highlights(runs, windows, baseline)[:MOST_HIGHLIGHTS]]
    for sentence in filter(None, told):
        console.print(f"- {sentence}", markup=False, highlight=False)
    _print_footnote((*summary["verdict"], *scaled.to_numpy().flat), console)


def _print_overview(summary: pd.DataFrame, console: Console) -> None:
    """Print a row per mode and a column per comparison, as many beside each other as there is room for."""
    table = overview_table(summary)
    named = list(table.columns[1:])
    baselines = summary[["baseline_backend", "baseline_mode"]].dropna().drop_duplicates()
    than = " or ".join(" ".join(row) for row in baselines.itertuples(index=False, name=None))
    places = set(summary.apply(lambda row: f" on {row['device']}, {resources(row)}", axis=1))
    where = places.pop() if len(places) == 1 else ""
    told = f"training speed{where}, against {than}" if than else "nothing to compare"
    console.print(told, markup=False, highlight=False)
    for begin in range(0, min(len(named), MOST_COMPARISONS), ACROSS):
        shown = _table(None)
        shown.add_column("", overflow="fold")
        for name in named[begin : begin + ACROSS]:
            shown.add_column(escape(name), justify="right", overflow="fold")
        for row in table[["backend and mode", *named[begin : begin + ACROSS]]].itertuples(index=False, name=None):
            shown.add_row(*map(escape, row))
        console.print(shown)
    if len(named) > MOST_COMPARISONS:
        console.print(f"the first {MOST_COMPARISONS} of {len(named)} comparisons; the report has them all")


def _print_footnote(verdicts: Iterable[object], console: Console) -> None:
    if any(str(text).endswith(WITHOUT_INTERVAL) for text in verdicts):
        console.print(FOOTNOTE, markup=False, highlight=False)


def print_details(runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str], console: Console) -> None:
    """Print a table per comparison, what ended otherwise than ok, and how noisy it was."""
    summary, fastest = summary_table(runs, windows, baseline), best(runs, windows, baseline)
    for _, cells in summary.groupby(COMPARISON, sort=False, dropna=False):
        _print_cells(cells, console)
        _print_best(fastest.merge(cells[GROUP].drop_duplicates(), on=GROUP), console)
        _print_paid_back(cells, console)
        console.print()
    scaled = scaling_texts(runs)
    _print_scaling(scaled, console)
    console.print(
        "Figures are of a configuration. samples/s: training in steady state, the geometric mean over rounds; the "
        "others are medians over its runs, first step in seconds, compiled anew. The last column: ratio of the "
        "throughput, with its 95 % interval over rounds of fresh processes."
    )
    _print_footnote((*summary["verdict"], *scaled.to_numpy().flat), console)
    for sentence in advice(runs):
        console.print(f"noise: {sentence}", markup=False, highlight=False)


def preliminary_texts(
    runs: pd.DataFrame, windows: pd.DataFrame, experiment: str, baseline: tuple[str, str]
) -> list[str]:
    """Say in a line per comparison of an experiment what its first round has brought, which has no intervals yet."""
    summary = summary_table(runs[(runs["excluded"] == "") & (runs["experiment"] == experiment)], windows, baseline)
    texts = []
    for _, cells in summary.groupby(COMPARISON, sort=False, dropna=False):
        compared = cells.dropna(subset=["ratio"])
        others = compared[compared["verdict"] != "baseline"]
        ratios = [f"{cell.backend} {cell.mode} {of_row(cell).plain}" for cell in others.itertuples()]
        accuracies = sorted({TEST_ACCURACY.written(value) for value in cells[TEST_ACCURACY.column].dropna()})
        scores = f"; test accuracy {' and '.join(accuracies)}" if accuracies else ""
        than = f"{cells['baseline_backend'].iloc[0]} {cells['baseline_mode'].iloc[0]}"
        where = f"preliminary, one round: {title_of(cells.iloc[0])}"
        texts.append(f"{where}, training speed against {than}: {', '.join(ratios)}{scores}")
    return texts


def _print_cells(cells: pd.DataFrame, console: Console) -> None:
    """Print a row per backend and mode of one comparison."""
    score = TEST_LOSS if cells[TEST_ACCURACY.column].isna().all() else TEST_ACCURACY
    table = _table(heading_of(cells))
    table.add_column("backend and mode", overflow="fold")
    for heading in (score.label, THROUGHPUT.unit, FIRST_STEP.label):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    baselines = cells[["baseline_backend", "baseline_mode"]].dropna()
    table.add_column(f"than {' '.join(baselines.iloc[0])}" if len(baselines) else "", overflow="fold")
    cell: Any
    for cell in cells.itertuples():
        table.add_row(
            escape(f"{cell.backend} {cell.mode}"),
            score.written(getattr(cell, score.column)),
            THROUGHPUT.written(cell.train_samples_per_second),
            FIRST_STEP.written(cell.first_step_seconds),
            escape("not compared" if pd.isna(cell.verdict) else cell.verdict),
        )
    console.print(table)
    for cell in cells.itertuples():
        for remark in (cell.problems, cell.note):
            if isinstance(remark, str) and remark:
                console.print(f"{cell.backend} {cell.mode}: {remark}", markup=False, highlight=False, soft_wrap=True)


def _print_best(found: pd.DataFrame, console: Console) -> None:
    """Print a line per framework but the baseline's, each at its best."""
    for than, own in best_texts(found).groupby("than", sort=False):
        lines = own[["backend and mode", "verdict"]].itertuples(index=False, name=None)
        _print_block(f"{AT_ITS_BEST}, than {than}:", list(lines), console)


def _print_paid_back(cells: pd.DataFrame, console: Console) -> None:
    """Print after how long each mode that does not start cheapest has paid back its compilation."""
    own = cells[cells[PAID_BACK.column].fillna("-") != "-"]
    texts = own[PAID_BACK.column] + ", against " + own["cheapest"]
    lines = zip(own["backend"] + " " + own["mode"], texts, strict=True)
    _print_block("Compilation paid back, against the mode that starts cheapest, after:", list(lines), console)


def _print_block(heading: str, lines: list[tuple[str, str]], console: Console) -> None:
    """Print a heading and, below it, names and what is said of them; nothing if there are none."""
    if lines:
        width = max(len(name) for name, _ in lines)
        console.print(heading, markup=False, highlight=False)
        for name, text in lines:
            console.print(f"  {name:{width}}  {text}", markup=False, highlight=False)


def _print_scaling(scaled: pd.DataFrame, console: Console) -> None:
    """Print what replicas gain over one, where the session has both."""
    for title, rows in scaled.groupby("experiment", sort=False) if len(scaled) else ():
        table = _table(f"replicas of {title} in all")
        for name in rows.columns[1:]:
            table.add_column(name, overflow="fold")
        for row in rows.itertuples(index=False):
            table.add_row(*map(escape, row[1:]))
        console.print(table)
        console.print()


def print_experiments(runs: pd.DataFrame, console: Console) -> None:
    """Print experiments beside each other; ``runs`` have a ``title`` besides the columns of the record."""
    rows = experiments_table(runs)
    table = _table(None)
    for name in rows.columns[:2]:
        table.add_column(name, overflow="fold")
    for name in rows.columns[2:]:
        table.add_column(name.replace(", ", " ").replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows.itertuples(index=False):
        table.add_row(*map(escape, row))
    console.print(table)


def print_sessions(runs: pd.DataFrame, console: Console) -> None:
    """Print a block per session: its name, how its runs ended, and what was typed."""
    for session, own in runs.groupby("session", sort=False):
        ends = ", ".join(f"{count} {status}" for status, count in own["status"].value_counts().items())
        experiments = ", ".join(dict.fromkeys(own["experiment"]))
        console.print(f"{session}: {len(own)} runs ({ends}) of {experiments}", markup=False, highlight=False)
        for sentence in exclusions(own):
            console.print(f"  {sentence}", markup=False, highlight=False)
        if command := own["command"].iloc[0]:
            console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def _table(title: str | None) -> Table:
    return Table(
        title=title and escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
