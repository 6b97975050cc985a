"""The command behind ``nox -s sabotage``: is every saboteur caught, and does every good mode pass?

Prints a row per saboteur, then, over many seeds, how close the honest frameworks come to the limits of each rung, and
last the two counts. Ends with 1 if a saboteur escaped or was caught by another rung than the one that fits, or if a
good mode was not comparable.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import prepare_data
from benchmarks.errors import DataError
from benchmarks.spec import experiment as experiments
from tests.sabotage.runner import Job, caught_by, run_jobs, run_saboteurs
from tests.sabotage.saboteurs import EXPERIMENTS, MINT, SABOTEURS

FRAMEWORKS = ("pytorch", "jax", "mindspore")
MORE: dict[str, dict[str, Any]] = {
    "fashion-mnist-mlp": {"data.samples": 12_800, "data.test_samples": 1000},
    "cifar10-cnn-pictures": {"data.samples": 1_024, "data.test_samples": 1000},
}
"""Experiments beside the default ones, as far as the reference can follow them; their data has to be there already."""

JUDGE_BUDGET = 60.0
"""Seconds of processor time for the reference of each run: more than in a bench, so that it judges as far as it would
anywhere."""


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sabotage", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs of every good mode, each with a seed of its own")
    parser.add_argument("--experiments", nargs="*", help="experiments of the good modes; default: see above")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    interpreters = Interpreters({}, console.print)
    pythons = {name: str(interpreters.path(environments.find(name))) for name in FRAMEWORKS}
    with tempfile.TemporaryDirectory(prefix="lockstep-sabotage-") as folder:
        rows = run_saboteurs([*SABOTEURS, MINT], Path(folder) / "saboteurs", {MINT.name: pythons["mindspore"]})
        caught = print_saboteurs(rows, console)
        chosen = arguments.experiments or [*usable_experiments(interpreters, console), *EXPERIMENTS]
        good = run_good(chosen, arguments.seeds, pythons, Path(folder) / "good", console)
    good = pd.concat([good, rows[rows["backend"] == "reference"]])
    alarms = print_good(good, console)
    judged = int((good["status"] != "unavailable").sum())
    all_of_them = len(SABOTEURS) + 1
    console.print(f"caught {caught} of {all_of_them}, false alarms {alarms} of {judged}", highlight=False)
    return 0 if caught == all_of_them and alarms == 0 and judged else 1


def usable_experiments(interpreters: Interpreters, console: Console) -> list[str]:
    """The default experiments, and those of ``MORE`` whose data is there."""
    chosen = []
    for name in experiments.names():
        experiment = experiments.load(experiments.find(name), MORE.get(name))
        if experiment.default:
            chosen.append(name)
        elif name in MORE:
            if not os.environ.get("LOCKSTEP_DATA"):
                console.print(f"{name} is left out: set LOCKSTEP_DATA to a folder that has its data", highlight=False)
                continue
            try:
                prepare_data(experiment, experiments.find(name).parent, interpreters)
                chosen.append(name)
            except DataError as error:
                console.print(f"{name} is left out: {error}", markup=False, highlight=False)
    return chosen


def run_good(
    chosen: Sequence[str], seeds: int, pythons: dict[str, str], folder: Path, console: Console
) -> pd.DataFrame:
    """Train every mode of the frameworks for one epoch of each experiment, ladder only, once per seed."""
    modes = [mode for name in FRAMEWORKS for mode in environments.find(name).modes]
    # The program is the same for all seeds: it is compiled once.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "compiled"))
    jobs = [
        Job(
            FRAMEWORKS,
            folder / f"{Path(name).stem}-{seed}",
            name,
            0,
            pythons,
            {"epochs": 1, "seed": seed, **MORE.get(name, {})},
            JUDGE_BUDGET,
            modes,
        )
        for seed in range(1, seeds + 1)
        for name in chosen
    ]
    tables = []
    for rows in run_jobs(jobs):
        tables.append(rows)
        first, good = rows.iloc[0], int((rows["status"] == "ok").sum())
        console.print(
            f"{len(tables)}/{len(jobs)} {first['experiment']}, seed {first['seed']}: {good} of {len(rows)} ok, "
            f"{first['judged_steps']} steps judged",
            highlight=False,
        )
    return pd.concat(tables, ignore_index=True)


def print_saboteurs(rows: pd.DataFrame, console: Console) -> int:
    """Print what caught each saboteur; return how many were caught by what has to catch them."""
    table = Table("saboteur", "what it does", "caught by", box=box.SIMPLE_HEAD)
    by_name = {row["backend"]: row for row in rows.to_dict("records")}
    caught = 0
    for saboteur in [*SABOTEURS, MINT]:
        row = by_name[saboteur.name]
        by = caught_by(row)
        right = by == saboteur.caught and saboteur.reason in row["reason"]
        caught += right
        verdict = row["reason"] if right else f"WRONG: {row['reason'] or 'passed'} (expected: {saboteur.caught})"
        table.add_row(saboteur.name, saboteur.description, verdict)
    console.print(table)
    return caught


def print_good(rows: pd.DataFrame, console: Console) -> int:
    """Print how close honest runs came to the limits, and every false alarm; return the number of these."""
    runs = rows[rows["status"] != "unavailable"].to_dict("records")
    ratios = pd.DataFrame(
        [
            {
                "experiment": run["experiment"],
                "rung": rung["name"],
                "ratio": rung["figure"] / rung["tolerance"] if rung["figure"] else 0.0,
                "run": f"{run['backend']} {run['mode']}, seed {run['seed']}",
            }
            for run in runs
            for rung in run["ladder"]
        ]
    )
    table = Table("rung", "largest ratio", "of", title="off by / allowed, among honest runs", box=box.SIMPLE_HEAD)
    for rung, group in ratios.groupby("rung", sort=False):
        worst = group.sort_values("ratio").iloc[-1]
        table.add_row(str(rung), f"{worst['ratio']:.2f}", f"{worst['experiment']} {worst['run']}")
    console.print(table)
    wide = ratios.pivot_table(index="experiment", columns="rung", values="ratio", aggfunc="max", sort=False)
    console.print(wide.round(2).to_string(), markup=False, highlight=False)
    alarms = [run for run in runs if run["status"] != "ok"]
    for run in alarms:
        which = f"{run['experiment']} {run['backend']} {run['mode']}, seed {run['seed']}"
        console.print(f"false alarm: {which}: {run['status']} in {run['phase']}: {run['reason']}", markup=False)
    return len(alarms)


if __name__ == "__main__":
    sys.exit(main())
