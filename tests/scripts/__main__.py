"""The command behind ``nox -s scripts``: does every script that lockstep writes train what lockstep trains?

Each experiment is written with ``--exact`` for every mode of each framework, run where lockstep is not, and compared
with the float64 reference, as the ladder does it with lockstep's own runs. Prints a row per script: the judged steps,
the largest distance of a loss in tolerances, and the speed that the script measures. Ends with 1 if one does not agree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import prepare_data
from benchmarks.errors import DataError, InputError
from benchmarks.machine.processors import default_threads
from benchmarks.script.rendering import Script
from benchmarks.session.options import Options
from benchmarks.spec import experiment as experiments
from results.proof.judge import judge
from tests.scripts.running import ScriptFailed, case_of, run

FRAMEWORKS = ("pytorch", "jax", "mindspore")


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scripts", description=__doc__)
    parser.add_argument("experiments", nargs="*", default=experiments.names(), help="names or files; default: all")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--modes", nargs="+", help="default: all")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training set: %(default)s")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    table = Table("experiment", "framework", "mode", "steps", "off / allowed", "samples/s", "", box=box.SIMPLE_HEAD)
    interpreters, good = Interpreters({}, console.print), True
    with tempfile.TemporaryDirectory(prefix="lockstep-scripts-") as folder:
        for name in arguments.experiments:
            good &= _of_experiment(name, arguments, interpreters, Path(folder), table, console)
    console.print(table)
    return 0 if good else 1


def _of_experiment(
    name: str,
    arguments: argparse.Namespace,
    interpreters: Interpreters,
    folder: Path,
    table: Table,
    console: Console,
) -> bool:
    path, good = experiments.find(name), True
    experiment = experiments.load(path, {"epochs": arguments.epochs})
    try:
        data = prepare_data(experiment, path.parent, interpreters)
    except DataError as error:
        table.add_row(path.stem, *[""] * 5, str(error))
        return True
    case = judgement = None
    for framework in arguments.frameworks:
        backend = environments.find(framework)
        for mode in arguments.modes or backend.modes:
            if mode not in backend.modes:
                continue
            script = Script(
                path.stem, experiment, data.sizes, data.classes, backend, mode, default_threads(), exact=True
            )
            with console.status(f"{path.stem}, {framework} {mode}"):
                case = case or case_of(path.stem, experiment, data, folder / path.stem)
                judgement = judgement or judge(case, Options.judge_budget)
                try:
                    found = run(script, folder / f"{path.stem}-{framework}-{mode}", interpreters, case, judgement)
                except (InputError, ScriptFailed) as error:
                    last = str(error).strip().splitlines()[-1]
                    table.add_row(path.stem, framework, mode, "", "", "", last)
                    good &= isinstance(error, InputError)
                    continue
            good &= found.holds
            told = "" if found.holds else f"WRONG: accuracy off by {found.wrong_samples} samples"
            figures = [f"{found.steps} of {case.steps}", f"{found.off:.2f}", f"{found.samples_per_second:,.0f}"]
            table.add_row(path.stem, framework, mode, *figures, told)
            console.print(f"{path.stem} {framework} {mode}: {', '.join(figures)} {told}", markup=False)
    return good


if __name__ == "__main__":
    sys.exit(main())
