"""The command behind ``nox -s scripts``: does every script that lockstep writes train what lockstep trains?

Each experiment is written with ``--exact`` for every mode of each framework, run where lockstep is not, and compared
with the float64 reference, as the ladder does it with lockstep's own runs. Prints a row per script: the judged steps,
the largest distance of a loss in tolerances, and the speed that the script measures. With ``--rounds N`` each script
takes turns with lockstep's own worker N times, and the row says which share of lockstep's speed it has. Ends with 1 if
a script does not agree.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import Materials, draw, prepare_data
from benchmarks.errors import DataError, InputError
from benchmarks.machine.processors import default_threads, processors_for
from benchmarks.script.rendering import Script, timed_steps
from benchmarks.session.options import Options
from benchmarks.spec import experiment as experiments
from results.proof.judge import Case, Judgement, judge
from results.statistics import ratio
from tests.handwritten.__main__ import written
from tests.handwritten.contest import Setting, Worker, rates
from tests.scripts.running import Agreement, ScriptFailed, run

FRAMEWORKS = ("pytorch", "jax", "mindspore")
TURNS = 20
"""Windows of lockstep's worker in a round, as many as a script has."""


@dataclass(frozen=True)
class Subject:
    """An experiment, what it is trained on, and what the reference says."""

    materials: Materials
    case: Case
    judgement: Judgement
    folder: Path
    rounds: int


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scripts", description=__doc__)
    parser.add_argument("experiments", nargs="*", default=experiments.names(), help="names or files; default: all")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--modes", nargs="+", help="default: all")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training set: %(default)s")
    parser.add_argument("--rounds", type=int, default=0, help="compare the speed with lockstep's so often: %(default)s")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    headings = ("experiment", "framework", "mode", "steps", "off / allowed", "samples/s", "share of lockstep's speed")
    table = Table(*headings, box=box.SIMPLE_HEAD)
    interpreters, good = Interpreters({}, console.print), True
    with tempfile.TemporaryDirectory(prefix="lockstep-scripts-") as folder:
        for name in arguments.experiments:
            path = experiments.find(name)
            experiment = experiments.load(path, {"epochs": arguments.epochs})
            try:
                data = prepare_data(experiment, path.parent, interpreters)
            except DataError as error:
                table.add_row(path.stem, *[""] * 5, str(error))
                continue
            materials = draw(path.stem, experiment, data, Path(folder) / path.stem)
            case = materials.case("float32")
            judgement = judge(case, Options.judge_budget)
            subject = Subject(materials, case, judgement, Path(folder) / f"{path.stem}-scripts", arguments.rounds)
            for row in of_experiment(subject, arguments, interpreters):
                good &= not row[-1].startswith("WRONG")
                table.add_row(*row)
                console.print(" ".join(row), markup=False)
    console.print(table)
    return 0 if good else 1


def of_experiment(subject: Subject, arguments: argparse.Namespace, interpreters: Interpreters) -> list[list[str]]:
    """The rows of an experiment."""
    rows = []
    for framework in arguments.frameworks:
        modes = environments.find(framework).modes
        for mode in [mode for mode in arguments.modes or modes if mode in modes]:
            row = [subject.materials.name, framework, mode]
            try:
                rows.append([*row, *_figures(subject, framework, mode, interpreters)])
            except InputError as error:
                rows.append([*row, "", "", "", str(error)])
            except ScriptFailed as error:
                rows.append([*row, "", "", "", f"WRONG: {str(error).strip().splitlines()[-1]}"])
    return rows


def _figures(subject: Subject, framework: str, mode: str, interpreters: Interpreters) -> list[str]:
    materials, backend = subject.materials, environments.find(framework)
    data = materials.data
    script = Script(
        materials.name, materials.experiment, data.sizes, data.classes, backend, mode, default_threads(), exact=True
    )
    found, shares = [], []
    for number in range(max(subject.rounds, 1)):
        own = subject.folder / f"{framework}-{mode}-{number}"
        found.append(run(script, own, interpreters, subject.case, subject.judgement))
        if subject.rounds:
            setting = Setting(materials.name, materials, interpreters.path(backend), script.threads, 1, own)
            shares.append(math.log(found[-1].samples_per_second / _speed_of_lockstep(setting, script)))
    worst = max(found, key=lambda agreement: agreement.off)
    share = written(ratio(np.array(shares)[:, np.newaxis])) if shares else ""
    return [
        f"{worst.steps} of {subject.case.steps}",
        f"{worst.off:.2f}",
        f"{np.median([agreement.samples_per_second for agreement in found]):,.0f}",
        share if all(agreement.holds for agreement in found) else _wrong(worst),
    ]


def _wrong(found: Agreement) -> str:
    return f"WRONG: off by {found.off:.1f} of what is allowed, and {found.wrong_samples} samples"


def _speed_of_lockstep(setting: Setting, script: Script) -> float:
    """Samples per second of lockstep's own worker, in calls of as many steps as a script times together."""
    steps = timed_steps(setting.materials.full_steps)
    worker = Worker(Setting(**{**vars(setting), "steps": steps}), script.backend, script.mode)
    try:
        worker.prepare()
        worker.pause()
        timed = rates([worker], TURNS, processors_for(setting.threads), np.random.default_rng())
    finally:
        worker.close()
    return float(np.nanmedian(timed)) * script.experiment.batch_size


if __name__ == "__main__":
    sys.exit(main())
