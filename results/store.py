"""The store: one SQLite file, one transaction per run, any number of writers at once."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, astuple, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.record import DETAILS, Epoch, Run, Window

FORMAT = 1
COLUMNS = [item.name for item in fields(Run) if item.name not in DETAILS]
_DEFAULTS = {item.name: item.default for item in fields(Run) if item.name in COLUMNS and item.default is not MISSING}
"""What a column holds in rows that are older than it."""
_EPOCH_COLUMNS = [item.name for item in fields(Epoch)]
_WINDOW_COLUMNS = [item.name for item in fields(Window)]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, session TEXT NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS epochs (run TEXT NOT NULL, {", ".join(_EPOCH_COLUMNS)}, PRIMARY KEY (run, epoch));
CREATE TABLE IF NOT EXISTS windows (run TEXT NOT NULL, {", ".join(_WINDOW_COLUMNS)});
CREATE INDEX IF NOT EXISTS windows_of_run ON windows (run);
CREATE TABLE IF NOT EXISTS losses (run TEXT PRIMARY KEY, npy BLOB NOT NULL, reference_npy BLOB NOT NULL);
"""


class StoreError(Exception):
    """A store that cannot be opened, read or written; the message names the file and the reason."""


class Store:
    """The runs of a results folder."""

    def __init__(self, folder: Path) -> None:
        """Open the store of a folder; neither the folder nor the file is made before something is written."""
        self.folder = folder
        self.path = folder / "lockstep.sqlite"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            # A second writer waits for the first one's transaction, which takes milliseconds.
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, FORMAT):
                    raise StoreError(
                        f"{self.path}: written by another version of lockstep (format {version}, not {FORMAT})"
                    )
                if version == 0:
                    for statement in _SCHEMA.strip().split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from None

    def append(self, run: Run) -> None:
        """Add a run with everything below it, or nothing."""
        document = json.dumps({name: getattr(run, name) for name in COLUMNS}, allow_nan=True)
        curves = (run.run, _npy(run.losses), _npy(run.reference_losses))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from None
        with self._transaction() as connection:
            connection.execute("INSERT INTO runs VALUES (?, ?, ?)", (run.run, run.session, document))
            connection.executemany(
                _insert("epochs", _EPOCH_COLUMNS), [(run.run, *astuple(row)) for row in run.epoch_rows]
            )
            connection.executemany(
                _insert("windows", _WINDOW_COLUMNS), [(run.run, *astuple(row)) for row in run.window_rows]
            )
            connection.execute("INSERT INTO losses VALUES (?, ?, ?)", curves)

    def runs(self, session: str | None = None) -> pd.DataFrame:
        """One row per run, in the order in which they were added, of one session or of all."""
        documents = []
        if self.path.exists():
            with self._transaction() as connection:
                where, values = ("WHERE session = ?", (session,)) if session else ("", ())
                rows = connection.execute(f"SELECT document FROM runs {where} ORDER BY rowid", values)  # noqa: S608
                documents = [{**_DEFAULTS, **json.loads(document)} for (document,) in rows]
        return pd.DataFrame(documents, columns=COLUMNS)

    def epochs(self) -> pd.DataFrame:
        """One row per run and epoch."""
        return self._table("epochs", ["run", *_EPOCH_COLUMNS])

    def windows(self, session: str | None = None) -> pd.DataFrame:
        """One row per run and window, of one session or of all."""
        windows = self._table("windows", ["run", *_WINDOW_COLUMNS])
        return windows if session is None else windows[windows["run"].str.startswith(f"{session}-")]

    def steps(self) -> pd.DataFrame:
        """One row per run and training step, counted from 1, with the loss before the step's update.

        ``reference_loss`` and ``tolerance`` are the float64 reference's loss and the largest honest distance from it,
        NaN for steps that were not judged.
        """
        runs: list[str] = []
        losses = [np.empty(0, np.float32)]
        judged = [np.empty((0, 2))]
        if self.path.exists():
            with self._transaction() as connection:
                for run, own, reference in connection.execute("SELECT * FROM losses ORDER BY rowid"):
                    runs.append(run)
                    losses.append(_array(own))
                    judged.append(_padded(_array(reference), len(losses[-1])))
        # One table at the end: a small one for each of thousands of runs would take longer than reading them.
        lengths = [len(own) for own in losses[1:]]
        references = np.concatenate(judged)
        columns = {
            "run": pd.Series(runs, dtype=object).repeat(lengths).array,
            "step": np.concatenate([np.arange(0), *(np.arange(1, length + 1) for length in lengths)]),
            "loss": np.concatenate(losses),
            "reference_loss": references[:, 0],
            "tolerance": references[:, 1],
        }
        return pd.DataFrame(columns)

    def _table(self, name: str, columns: list[str]) -> pd.DataFrame:
        if not self.path.exists():
            return pd.DataFrame(columns=columns)
        with self._transaction() as connection:
            return pd.read_sql_query(f"SELECT * FROM {name} ORDER BY rowid", connection)  # noqa: S608 - one of our own names


def _insert(table: str, columns: list[str]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * (1 + len(columns)))})"  # noqa: S608 - one of our own names


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(npy: bytes) -> NDArray[Any]:
    """The array that ``_npy`` wrote; raises ValueError if it is something else, or holds objects."""
    begin = len(np.lib.format.MAGIC_PREFIX) + 4 + int.from_bytes(npy[8:10], "little")
    shape, fortran_order, dtype = _header(npy[:begin])
    return np.frombuffer(npy, dtype, offset=begin).reshape(shape, order="F" if fortran_order else "C")


@lru_cache
def _header(npy: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type; np.load takes far longer for them than for the values, and most runs have the same."""
    file = io.BytesIO(npy)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not an array of format 1.0, which np.save writes for plain numbers")
    return np.lib.format.read_array_header_1_0(file)


def _padded(reference: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """What the judge said about so many steps, NaN for those that were not judged."""
    judged = np.full((length, 2), np.nan)
    judged[: len(reference)] = reference[:length]
    return judged
