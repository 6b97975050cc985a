"""What a report is drawn from: the tables of some sessions, and how they are cut into comparisons.

Everything is computed for all comparisons at once and cut afterwards: a report of thousands of runs has hundreds of
comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from results.errors import StoreError
from results.record import Say
from results.statistics import GROUP
from results.store import Store
from results.tables import resources, titles


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
    excluded: pd.DataFrame
    """Runs that do not count any more, with the reason in ``excluded``; they are in none of the other tables."""

    @property
    def labels(self) -> list[str]:
        """What the comparisons are called, by number."""
        return [label(run) for _, run in self.runs.drop_duplicates("panel").iterrows()]

    @property
    def titles(self) -> list[str]:
        """The same with no more than what tells them apart."""
        return titles(self.runs.drop_duplicates("panel"))


def read(folder: Path, sessions: Sequence[str] = ()) -> Results:
    """Read the chosen sessions of a results folder, or the newest. Raises StoreError if there is none."""
    store = Store(folder)
    runs = every_run(folder)
    known = list(dict.fromkeys(runs["session"]))
    for session in sessions:
        if session not in known:
            raise StoreError(f"{folder}: no session {session}; there are {', '.join(known[-10:])}")
    chosen = runs[runs["session"].isin(sessions or known[-1:])]
    excluded, chosen = chosen[chosen["excluded"] != ""], chosen[chosen["excluded"] == ""].reset_index(drop=True)
    if chosen.empty:
        raise StoreError(f"{folder}: every run of session {excluded['session'].iloc[0]} is excluded; take another one")
    chosen["cell"] = chosen["backend"] + " " + chosen["mode"]
    chosen["panel"] = chosen.groupby(GROUP, sort=False, dropna=False).ngroup()
    tables = (store.epochs(), store.windows(), store.steps())
    epochs, windows, steps = (table[table["run"].isin(chosen["run"])] for table in tables)
    return Results(folder, chosen, epochs, windows, steps, excluded)


def every_run(folder: Path) -> pd.DataFrame:
    """Return the runs of all sessions, excluded ones too; raises StoreError if there is none."""
    runs = Store(folder).runs()
    if runs.empty:
        raise StoreError(f"{folder}: no results there yet; 'lockstep run' makes some, --results names another folder")
    return runs


def read_experiments(folder: Path, names: Sequence[str], sessions: Sequence[str] = ()) -> Results:
    """Read the runs of some experiments: of each from the newest session that has it. Raises StoreError."""
    every = read(folder, sessions or list(dict.fromkeys(every_run(folder)["session"])))
    for name in names:
        if name not in set(every.runs["experiment"]):
            there = ", ".join(dict.fromkeys(every.runs["experiment"]))
            raise StoreError(f"{folder}: there are no runs of {name}, only of {there}")
    newest = every.runs.groupby("experiment")["session"].transform("last")
    runs = every.runs[every.runs["experiment"].isin(names) & every.runs["session"].eq(newest)].reset_index(drop=True)
    runs["panel"] = runs.groupby(GROUP, sort=False, dropna=False).ngroup()
    tables = (every.epochs, every.windows, every.steps)
    epochs, windows, steps = (table[table["run"].isin(runs["run"])] for table in tables)
    return Results(folder, runs, epochs, windows, steps, every.excluded)


def label(run: pd.Series, say: Say = str) -> str:
    """What the comparison of a run is called."""
    alone = "{name} on {device}, {resources}, {precision}"
    of_several = "{name} on {device}, {resources}, {precision}, on {node}"
    return say(of_several if run["node"] else alone).format(
        name=f"{run['experiment']} {run['sweep_point']}".strip(),
        device=run["device"],
        resources=resources(run, say),
        precision=run["precision_asked"],
        node=run["node"],
    )
