"""The command behind ``nox -s faults``: what becomes of every fault, of killed benches, and of bad input?

Prints a row per fault with what it left (the status of rows, the exit code, what was kept), then how many kills of the
bench were survived, then how many inputs were refused in one line, were valid, or did something else. Ends with 1 if
anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.faults import downloads, processes, waiting, workers
from tests.faults.fuzz import fuzz
from tests.faults.fuzz.ground import Count
from tests.faults.helpers import Outcome
from tests.faults.kill import KillTest, kill_test


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how often the bench is killed; 0: not at all")
    parser.add_argument("--cases", type=int, default=10_500, help="inputs that are tried; 0: none")
    parser.add_argument("--no-faults", action="store_true", help="leave the table of faults out")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments and of the inputs")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    console.print(f"seed {arguments.seed}")
    fine = True
    with tempfile.TemporaryDirectory(prefix="lockstep-faults-") as folder:
        if not arguments.no_faults:
            fine = print_faults(run_faults(Path(folder), console), console)
        if arguments.kills:
            (Path(folder) / "kills").mkdir()
            found = kill_test(Path(folder) / "kills", arguments.kills, arguments.seed, console.print)
            fine = print_kills(found, console) and fine
        if arguments.cases:
            (Path(folder) / "fuzz").mkdir()
            fine = print_fuzz(fuzz(Path(folder) / "fuzz", arguments.cases, arguments.seed), console) and fine
    return 0 if fine else 1


def run_faults(folder: Path, console: Console) -> dict[str, Outcome]:
    """Do all faults; one that is not allowed here, such as mounting a small disk, counts as not held."""
    (folder / "workers").mkdir()
    outcomes = workers.run(folder / "workers")
    for name, fault in {**processes.FAULTS, **downloads.FAULTS, **waiting.FAULTS}.items():
        console.print(f"doing: {name}")
        own = folder / fault.__name__
        own.mkdir()
        try:
            outcomes[name] = fault(own)
        except PermissionError as error:
            outcomes[name] = Outcome(f"not done: {error}", None, "", held=False)
    return outcomes


def print_faults(outcomes: dict[str, Outcome], console: Console) -> bool:
    """Print a row per fault; return whether all are as they have to be."""
    table = Table("fault", "outcome", "exit code", "kept", "as it has to be", box=box.SIMPLE_HEAD)
    for name, outcome in outcomes.items():
        table.add_row(name, outcome.status, str(outcome.exit_code), outcome.kept, "yes" if outcome.held else "NO")
    console.print(table)
    held = sum(outcome.held for outcome in outcomes.values())
    console.print(f"faults: {held} of {len(outcomes)} as they have to be")
    return held == len(outcomes)


def print_kills(found: KillTest, console: Console) -> bool:
    """Print what the kill test found; return whether all is well."""
    for problem in found.problems:
        console.print(f"PROBLEM: {problem}", markup=False)
    share = found.survived / found.kills
    console.print(f"killed {found.kills} times, survived {found.survived}/{found.kills} = {share:.0%}")
    return found.survived == found.kills and not found.problems


def print_fuzz(counts: dict[str, Count], console: Console) -> bool:
    """Print a row per way in, and every problem; return whether there was none."""
    table = Table("way in", "inputs", "refused in one line", "valid", "problems", box=box.SIMPLE_HEAD)
    for name, count in counts.items():
        numbers = (count.cases, count.refused, count.valid, len(count.problems))
        table.add_row(name, *(f"{number:,}" for number in numbers))
    console.print(table)
    problems = [problem for count in counts.values() for problem in count.problems]
    for problem in problems[:50]:
        console.print(f"PROBLEM: {problem}", markup=False)
    total = sum(count.cases for count in counts.values())
    console.print(f"{total:,} inputs, {len(problems)} tracebacks or other problems")
    return not problems


if __name__ == "__main__":
    sys.exit(main())
