"""What a report is drawn from: the tables of some sessions, cut into one panel per comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from results.statistics import GROUP, throughputs
from results.store import Store, StoreError


@dataclass(frozen=True)
class Results:
    """The tables of the chosen sessions of one store."""

    folder: Path
    runs: pd.DataFrame
    epochs: pd.DataFrame
    windows: pd.DataFrame
    steps: pd.DataFrame

    @property
    def details(self) -> tuple[pd.DataFrame, ...]:
        """The tables below the runs."""
        return self.epochs, self.windows, self.steps


@dataclass(frozen=True)
class Panel:
    """One comparison: the cells that may be compared with each other, in all their rounds.

    Every table has the columns ``run`` and ``cell``; a cell is named by its backend and mode.
    """

    number: int
    label: str
    runs: pd.DataFrame
    epochs: pd.DataFrame
    windows: pd.DataFrame
    steps: pd.DataFrame
    throughputs: pd.DataFrame
    """Of each cell, with its interval."""
    sweep: pd.DataFrame
    """The runs of all points of the sweep that the panel is a point of; empty without one."""


def read(folder: Path, sessions: Sequence[str] = ()) -> Results:
    """Read the chosen sessions of a results folder, by default the newest one. Raises StoreError if there is none."""
    store = Store(folder)
    runs = store.runs()
    known = list(dict.fromkeys(runs["session"]))
    if not known:
        raise StoreError(f"{folder}: no results there yet; 'lockstep run' makes some, --results names another folder")
    for session in sessions:
        if session not in known:
            raise StoreError(f"{folder}: no session {session}; there are {', '.join(known[-10:])}")
    chosen = runs[runs["session"].isin(sessions or known[-1:])]
    tables = [table[table["run"].isin(chosen["run"])] for table in (store.epochs(), store.windows(), store.steps())]
    return Results(folder, chosen.reset_index(drop=True), *tables)


def panels(results: Results) -> list[Panel]:
    """Cut the tables into comparisons, in the order in which they were run."""
    runs = results.runs.assign(cell=results.runs["backend"] + " " + results.runs["mode"])
    runs["panel"] = runs.groupby(GROUP, sort=False, dropna=False).ngroup()
    speeds = throughputs(runs, results.windows)
    speeds["cell"] = speeds["backend"] + " " + speeds["mode"]
    speeds = speeds.merge(runs[["panel", *GROUP]].drop_duplicates(), on=GROUP)
    details = [table.merge(runs[["run", "cell", "panel"]], on="run") for table in results.details]
    parts = [(dict(iter(table.groupby("panel"))), table.iloc[:0]) for table in (*details, speeds)]
    sweeps = dict(iter(runs[runs["point"] != ""].groupby(["session", "experiment", "device"])))
    found = []
    for number, group in runs.groupby("panel"):
        first = group.iloc[0]
        sweep = sweeps.get((first["session"], first["experiment"], first["device"]), runs.iloc[:0])
        tables = [part.get(number, empty) for part, empty in parts]
        found.append(Panel(int(str(number)), label(first), group, *tables, sweep))
    return found


def label(run: pd.Series) -> str:
    """What a comparison is called."""
    name = f"{run['experiment']} {run['point']}".strip()
    return f"{name} on {run['device']}, {run['threads_asked']} threads, {run['precision_asked']}"
