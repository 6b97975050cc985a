"""What a report is drawn from: the tables of some sessions, and how they are cut into comparisons.

Everything is computed for all comparisons at once and cut afterwards: a report of thousands of runs has hundreds of
comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from results.statistics import GROUP
from results.store import Store, StoreError


@dataclass(frozen=True)
class Results:
    """The tables of the chosen sessions of one store.

    Besides their own columns, ``runs`` has ``cell`` (backend and mode) and ``panel``, the number of the comparison
    that the run belongs to.
    """

    folder: Path
    runs: pd.DataFrame
    epochs: pd.DataFrame
    windows: pd.DataFrame
    steps: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """What the comparisons are called, by number."""
        return [label(run) for _, run in self.runs.drop_duplicates("panel").iterrows()]

    @property
    def titles(self) -> list[str]:
        """The same with no more than what tells them apart."""
        firsts = self.runs.drop_duplicates("panel")
        parts = [firsts["experiment"], firsts["point"]]
        parts += [firsts[column] for column in ("device", "threads_asked") if firsts[column].nunique() > 1]
        return [" ".join(str(part) for part in row if part) for row in zip(*parts, strict=True)]


def read(folder: Path, sessions: Sequence[str] = (), every: bool = False) -> Results:
    """Read the chosen sessions of a results folder, or every one, or the newest. Raises StoreError if there is none."""
    store = Store(folder)
    runs = store.runs()
    known = list(dict.fromkeys(runs["session"]))
    if not known:
        raise StoreError(f"{folder}: no results there yet; 'lockstep run' makes some, --results names another folder")
    for session in sessions:
        if session not in known:
            raise StoreError(f"{folder}: no session {session}; there are {', '.join(known[-10:])}")
    chosen = runs[runs["session"].isin(known if every else sessions or known[-1:])].reset_index(drop=True)
    chosen["cell"] = chosen["backend"] + " " + chosen["mode"]
    chosen["panel"] = chosen.groupby(GROUP, sort=False, dropna=False).ngroup()
    tables = [table[table["run"].isin(chosen["run"])] for table in (store.epochs(), store.windows(), store.steps())]
    return Results(folder, chosen, *tables)


def read_experiments(folder: Path, names: Sequence[str], sessions: Sequence[str] = ()) -> Results:
    """Read the runs of some experiments: of each from the newest session that has it. Raises StoreError."""
    every = read(folder, sessions, every=not sessions)
    for name in names:
        if name not in set(every.runs["experiment"]):
            there = ", ".join(dict.fromkeys(every.runs["experiment"]))
            raise StoreError(f"{folder}: there are no runs of {name}, only of {there}")
    newest = every.runs.groupby("experiment")["session"].transform("last")
    runs = every.runs[every.runs["experiment"].isin(names) & every.runs["session"].eq(newest)].reset_index(drop=True)
    runs["panel"] = runs.groupby(GROUP, sort=False, dropna=False).ngroup()
    tables = [table[table["run"].isin(runs["run"])] for table in (every.epochs, every.windows, every.steps)]
    return Results(folder, runs, *tables)


def label(run: pd.Series) -> str:
    """What the comparison of a run is called."""
    name = f"{run['experiment']} {run['point']}".strip()
    return f"{name} on {run['device']}, {run['threads_asked']} threads, {run['precision_asked']}"
