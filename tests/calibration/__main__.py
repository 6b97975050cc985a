"""The command behind ``nox -s calibrate``: are the verdicts as sure as they say?

Records a backend, its twin under another name and slowed copies on this machine, draws trials from the recording, and
prints how often equals were called different, also frameworks with several modes that are equal at their best (at most
5 %), how often a slowdown of 5 % was found with the default rounds, and one of 2 % with --until 2% (both at least
95 %). ``--replay`` draws from the recording that comes with lockstep instead, which gives the same figures everywhere.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from tests.calibration.recording import MODES, record
from tests.calibration.trials import (
    BEST_TRIALS,
    CLEARLY_SLOWER,
    FALSE_ALARMS,
    FOUND,
    ROUNDS,
    TRIALS,
    Calibration,
    calibrate,
    noise_of_windows,
)

RECORDED = Path(__file__).parent / "recorded.parquet"


def main() -> int:
    """Do what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__)
    parser.add_argument("--replay", action="store_true", help="use the recording that comes with lockstep")
    parser.add_argument("--save", metavar="FILE", type=Path, help="keep the new recording as Parquet")
    parser.add_argument("--rounds", type=int, default=16, help="rounds to record (default: %(default)s)")
    parser.add_argument("--frameworks", nargs="+", choices=MODES, default=list(MODES), metavar="NAME")
    parser.add_argument("--experiment", default="digits-mlp", help="default: %(default)s")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if arguments.replay:
        recording = pd.read_parquet(RECORDED)
    else:
        with tempfile.TemporaryDirectory(prefix="lockstep-calibrate-") as folder:
            parts = []
            for name in arguments.frameworks:
                console.print(f"recording {arguments.rounds} rounds of {name} {MODES[name]}, {arguments.experiment}")
                parts.append(record(name, arguments.experiment, arguments.rounds, Path(folder) / name, console))
            recording = pd.concat(parts, ignore_index=True)
    if arguments.save:
        recording.to_parquet(arguments.save, index=False)
    found = {name: calibrate(str(name), part) for name, part in recording.groupby("framework", sort=False)}
    print_calibrations(list(found.values()), recording, console)
    return 0 if all(calibration.holds for calibration in found.values()) else 1


def print_calibrations(found: list[Calibration], recording: pd.DataFrame, console: Console) -> None:
    """Print a row per framework."""
    table = Table(
        "framework",
        "noise of a turn",
        "of a round",
        "equals called different",
        f"5 % found in {ROUNDS} rounds",
        "2 % found, --until 2%",
        "with several modes",
        "within bounds",
        box=box.SIMPLE_HEAD,
    )
    for row in found:
        part = recording[recording["framework"] == row.framework]
        table.add_row(
            row.framework,
            f"{noise_of_windows(part):.1%}",
            f"{row.noise:.1%}",
            f"{row.called_different:.1%}",
            f"{row.found:.1%}, {row.left_open:.1%} left open",
            f"{row.found_until:.1%} (median of {row.rounds_until:.0f} rounds)",
            f"{row.two_modes:.1%}, {row.three_modes:.1%}, {row.slower_mode:.1%}",
            "yes" if row.holds else "NO",
        )
    console.print(table)
    rounds = ", ".join(str(row.rounds) for row in found)
    console.print(
        f"{TRIALS} trials each, from {rounds} recorded rounds of fresh processes; bounds: at most {FALSE_ALARMS:.0%} "
        f"called different, at least {FOUND:.0%} found of those that are not left open. With several modes, "
        f"{BEST_TRIALS} trials: frameworks that are equal at their best and called different, of two equal modes each, "
        f"of three and one, and of two each of which one takes {CLEARLY_SLOWER:.0%} longer.",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
