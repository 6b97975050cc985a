"""Runs backends through the ladder, several benches at a time, and tells what caught each saboteur."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks.commands.bench import bench
from benchmarks.machine.processors import physical_cores
from benchmarks.session.options import JUDGE_BUDGET, Options
from benchmarks.session.request import Selection
from results.store import Store
from tests.sabotage.saboteurs import EVERYTHING, EXPERIMENTS, Saboteur

TOGETHER = 16
"""Saboteurs in one bench: its workers start at the same time."""


@dataclass(frozen=True)
class Job:
    """One bench, of one thread: the backends by name or file, one experiment, the timed windows of each, and where."""

    backends: Sequence[str]
    results: Path
    experiment: str = EVERYTHING
    turns: int = 0
    pythons: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    judge_budget: float = JUDGE_BUDGET
    modes: Sequence[str] = ()

    def run(self) -> pd.DataFrame:
        """Run the bench and return its rows; the backends that are files use the running interpreter."""
        current = {Path(name).stem: "current" for name in self.backends if name.endswith(".py")}
        selection = Selection([self.experiment], self.backends, self.modes, threads=1, overrides=dict(self.overrides))
        options = Options(repeats=1, timeout=600, turns=self.turns, judge_budget=self.judge_budget, peaks=False)
        bench(
            selection,
            options,
            {"reference": "current", **current, **self.pythons},
            self.results,
            Console(file=io.StringIO()),
        )
        return Store(self.results).runs()


def run_jobs(jobs: Sequence[Job]) -> Iterator[pd.DataFrame]:
    """Run benches side by side, each bound to a core of its own; yields the rows of each in the order of the jobs."""
    slots = [{core} for core in physical_cores()]
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for slot in slots:
        free.put(slot)
    with ProcessPoolExecutor(len(slots), context, _take_slot, (free,)) as pool:
        yield from pool.map(Job.run, jobs)


def _take_slot(free: Any) -> None:
    slot = free.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot)


def run_saboteurs(
    saboteurs: Sequence[Saboteur], folder: Path, pythons: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Run saboteurs, and the honest reference beside them; return their rows."""
    (folder / "backends").mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = []
    for experiment, timed in product(EXPERIMENTS, (True, False)):
        alike = [item for item in saboteurs if (item.experiment, item.needs_timing) == (experiment, timed)]
        files = [str(item.write(folder / "backends")) for item in alike]
        for begin in range(0, len(files), TOGETHER):
            together = [*files[begin : begin + TOGETHER], *([] if begin else ["reference"])]
            jobs.append(Job(together, folder / f"{len(jobs)}", experiment, int(timed), pythons or {}))
    return pd.concat(run_jobs(jobs), ignore_index=True)


def caught_by(row: Any) -> str:
    """The rung that a run did not climb, or else its status; empty if it passed as good."""
    return "" if row["status"] == "ok" else str(row["failed_rung"] or row["status"])
