"""The store: one SQLite file, one transaction per run, any number of writers at once."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd

from results.record import DETAILS, Epoch, Run, Window

FORMAT = 1
COLUMNS = [item.name for item in fields(Run) if item.name not in DETAILS]
_EPOCH_COLUMNS = [item.name for item in fields(Epoch)]
_WINDOW_COLUMNS = [item.name for item in fields(Window)]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, session TEXT NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS epochs (run TEXT NOT NULL, {", ".join(_EPOCH_COLUMNS)}, PRIMARY KEY (run, epoch));
CREATE TABLE IF NOT EXISTS windows (run TEXT NOT NULL, {", ".join(_WINDOW_COLUMNS)});
CREATE INDEX IF NOT EXISTS windows_of_run ON windows (run);
CREATE TABLE IF NOT EXISTS losses (run TEXT PRIMARY KEY, npy BLOB NOT NULL);
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
        losses = io.BytesIO()
        np.save(losses, run.losses, allow_pickle=False)
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
            connection.execute("INSERT INTO losses VALUES (?, ?)", (run.run, losses.getvalue()))

    def runs(self, session: str | None = None) -> pd.DataFrame:
        """One row per run, in the order in which they were added, of one session or of all."""
        documents = []
        if self.path.exists():
            with self._transaction() as connection:
                where, values = ("WHERE session = ?", (session,)) if session else ("", ())
                rows = connection.execute(f"SELECT document FROM runs {where} ORDER BY rowid", values)  # noqa: S608
                documents = [json.loads(document) for (document,) in rows]
        return pd.DataFrame(documents, columns=COLUMNS)

    def epochs(self) -> pd.DataFrame:
        """One row per run and epoch."""
        return self._table("epochs", ["run", *_EPOCH_COLUMNS])

    def windows(self) -> pd.DataFrame:
        """One row per run and window."""
        return self._table("windows", ["run", *_WINDOW_COLUMNS])

    def steps(self) -> pd.DataFrame:
        """One row per run and training step, counted from 1, with the loss before the step's update."""
        frames = [
            pd.DataFrame({"run": [], "step": [], "loss": []}).astype({"run": str, "step": int, "loss": np.float32})
        ]
        if self.path.exists():
            with self._transaction() as connection:
                for run, npy in connection.execute("SELECT run, npy FROM losses ORDER BY rowid"):
                    losses = np.load(io.BytesIO(npy), allow_pickle=False)
                    if len(losses):
                        frames.append(pd.DataFrame({"run": run, "step": np.arange(1, len(losses) + 1), "loss": losses}))
        return pd.concat(frames[1:] or frames, ignore_index=True)

    def _table(self, name: str, columns: list[str]) -> pd.DataFrame:
        if not self.path.exists():
            return pd.DataFrame(columns=columns)
        with self._transaction() as connection:
            return pd.read_sql_query(f"SELECT * FROM {name} ORDER BY rowid", connection)  # noqa: S608 - one of our own names


def _insert(table: str, columns: list[str]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * (1 + len(columns)))})"  # noqa: S608 - one of our own names
