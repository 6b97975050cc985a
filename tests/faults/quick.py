"""The real command line, with fewer turns, a short judgement and no peaks, so that a fault costs seconds.

After each run's line it prints another one, with a digest of the whole record: what a table has to hold to the bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from backends.hosting import environments
from benchmarks import cli
from benchmarks.commands import training
from benchmarks.session import local, options
from benchmarks.session.progress import TerminalProgress
from results.record import Run
from results.store import COLUMNS, _npy

ROW = "ROW"


def digest(run: Run) -> str:
    """SHA-256 of everything that a run leaves in the store, from its record."""
    document = json.dumps({name: getattr(run, name) for name in COLUMNS}, allow_nan=True)
    epochs = [(run.run, *astuple(row)) for row in run.epoch_rows]
    windows = [(run.run, *astuple(row)) for row in run.window_rows]
    return _digest(document, epochs, windows, [[_npy(run.losses), _npy(run.reference_losses)]])


def digests_of_store(path: Path) -> dict[str, str]:
    """The same from the store, by the name of the run."""
    found = {}
    connection = sqlite3.connect(path)
    for run, document in connection.execute("SELECT run, document FROM runs").fetchall():
        epochs, windows = (
            connection.execute(f"SELECT * FROM {name} WHERE run = ? ORDER BY rowid", (run,)).fetchall()  # noqa: S608
            for name in ("epochs", "windows")
        )
        arrays = connection.execute("SELECT npy, reference_npy FROM losses WHERE run = ?", (run,)).fetchall()
        found[run] = _digest(document, epochs, windows, arrays)
    connection.close()
    return found


def _digest(document: str, *tables: Iterable[Iterable[Any]]) -> str:
    # SQLite has no booleans, and 1 == True is no help to a text.
    rows = [[[float(x) if isinstance(x, int) else x for x in row] for row in table] for table in tables]
    return hashlib.sha256(repr((document, rows)).encode()).hexdigest()


class _Reporting(TerminalProgress):
    def ended(self, run: Run, seconds: float) -> None:
        """Print the digest after the line that says that the run has its row."""
        super().ended(run, seconds)
        self.message(f"{ROW} {run.run} {digest(run)}")


if __name__ == "__main__":
    vars(training).update(Options=functools.partial(options.Options, turns=2, judge_budget=0.5, peaks=False))
    if folder := os.environ.get("FAULTS_ENVIRONMENTS"):
        environments.ENVIRONMENTS = Path(folder)
    vars(local).update(TerminalProgress=_Reporting)
    sys.argv[0] = "lockstep"
    cli.main()
