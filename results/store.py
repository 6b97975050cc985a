"""The store: one SQLite file, one transaction per run, any number of writers at once."""

from __future__ import annotations

import io
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, astuple, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from results.errors import DamagedStoreError, StoreError
from results.record import DETAILS, NOT_STARTED, Epoch, Run, Window

FORMAT = 3
"""Raise it whenever a table is added or changed, and say in ``_writing`` how an older store gets there.

A new field of ``Epoch`` or ``Window`` changes a table; one of ``Run`` does not, but needs a default.
"""

COLUMNS = [item.name for item in fields(Run) if item.name not in DETAILS]
_DEFAULTS = {
    item.name: item.default_factory() if item.default_factory is not MISSING else item.default
    for item in fields(Run)
    if item.name in COLUMNS and (item.default, item.default_factory) != (MISSING, MISSING)
}
"""What a column holds in rows that are older than it."""
_RENAMED = {
    "comparable": "equal_work",
    "harness_seconds": "bookkeeping_seconds",
    "key": "resume_key",
    "point": "sweep_point",
    "rung": "failed_rung",
    "together": "comparison",
}
"""Columns that were called otherwise up to format 2; rows are read under their new names, and stay as they are."""
_RENAMED_PHASES = {"harness": "bookkeeping", "planned": NOT_STARTED}
_HINTS = get_type_hints(Run)
_FIELDS: Any = {name: (_HINTS[name], ...) for name in COLUMNS}
_Document: type[BaseModel] = create_model("_Document", __config__=ConfigDict(strict=True), **_FIELDS)
_EPOCH_COLUMNS = [item.name for item in fields(Epoch)]
_WINDOW_COLUMNS = [item.name for item in fields(Window)]
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, session TEXT NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS epochs (run TEXT NOT NULL, {", ".join(_EPOCH_COLUMNS)}, PRIMARY KEY (run, epoch));
CREATE TABLE IF NOT EXISTS windows (run TEXT NOT NULL, {", ".join(_WINDOW_COLUMNS)});
CREATE INDEX IF NOT EXISTS windows_of_run ON windows (run);
CREATE TABLE IF NOT EXISTS losses (run TEXT PRIMARY KEY, npy BLOB NOT NULL, reference_npy BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (session TEXT PRIMARY KEY, asked TEXT NOT NULL, finished INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS excluded (run TEXT PRIMARY KEY, why TEXT NOT NULL);
"""
TABLES = ("runs", "epochs", "windows", "losses", "sessions", "excluded")
EXCLUDED_BEFORE = "retired"
"""What the table of excluded runs was called in format 2."""


class Store:
    """The runs of a results folder."""

    def __init__(self, folder: Path) -> None:
        """Open the store of a folder; neither the folder nor the file is made before something is written."""
        self.folder = folder
        self.path = folder / "lockstep.sqlite"

    def _select(
        self, query: str, values: Sequence[Any] = (), since: int = 1, until: int = FORMAT
    ) -> list[tuple[Any, ...]]:
        """What a query finds; nothing if there is no store yet, or one older than the format ``since``, or newer.

        It only reads: also a store of an older version, and one in a folder that is read-only.
        """
        if not self.path.exists():
            return []
        # Where writing is possible, what a killed writer left half done has to be rolled back first.
        mode = "rw" if os.access(self.path, os.W_OK) and os.access(self.folder, os.W_OK) else "ro"
        with self._connection(mode) as connection:
            connection.execute("BEGIN")
            known = since <= self._version(connection) <= until
            return connection.execute(query, values).fetchall() if known else []

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes all that happens in it, or nothing; makes the store, or brings it up to date."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from None
        with self._connection("rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            if (version := self._version(connection)) < FORMAT:
                if version == 2:
                    connection.execute(f"ALTER TABLE {EXCLUDED_BEFORE} RENAME TO excluded")
                # What else is new since format 1 are tables that an older store does not have.
                for statement in SCHEMA.strip().split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            # A second writer waits for the first one's transaction, which takes milliseconds.
            where = f"{self.path.absolute().as_uri()}?mode={mode}"
            connection = sqlite3.connect(where, uri=True, timeout=60, isolation_level=None)
            try:
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from a damaged schema
            # The low byte is the error, the others are its variety.
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT
            if damaged:
                raise DamagedStoreError(self.path, str(error)) from None
            raise StoreError(f"{self.path}: {error}") from None

    def _version(self, connection: sqlite3.Connection) -> int:
        """The format of the store, 0 if it is being made.

        Raises StoreError if only a newer lockstep knows it, DamagedStoreError if the file is shorter than it should be.
        """
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        # SQLite reads the missing part of a last page as zeros. An empty file is a store that is being made.
        if 0 < self.path.stat().st_size < pages * size:
            raise DamagedStoreError(self.path, "the end of the file is missing")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if not 0 <= version <= FORMAT:
            raise StoreError(
                f"{self.path}: written by a newer lockstep (format {version}; this one knows up to {FORMAT}): "
                "update lockstep, or name another folder with --results"
            )
        return version

    def check(self) -> None:
        """Read the whole structure of the store; raises DamagedStoreError, or StoreError as every method does."""
        for (found,) in self._select("PRAGMA quick_check(1)"):
            if found != "ok":
                raise DamagedStoreError(self.path, str(found))

    # --- sessions: what was asked for, and whether it came to its end ---------------------------------------------

    def begin(self, session: str, asked: str) -> None:
        """Enter a session that sets out to run what ``asked`` stands for."""
        with self._writing() as connection:
            connection.execute("INSERT INTO sessions VALUES (?, ?, 0)", (session, asked))

    def finish(self, session: str) -> None:
        """Enter that everything planned in a session has its row: nothing of it is left to be continued."""
        with self._writing() as connection:
            connection.execute("UPDATE sessions SET finished = 1 WHERE session = ?", (session,))

    def unfinished(self, asked: str) -> list[str]:
        """The sessions that set out to run the same and did not come to their end, the newest first."""
        query = "SELECT session FROM sessions WHERE asked = ? AND finished = 0 ORDER BY rowid DESC"
        return [session for (session,) in self._select(query, [asked], since=2)]

    def exclude(self, runs: Sequence[str], why: str) -> None:
        """Mark rows as not to be counted, with the reason; they stay as they are. The first reason stands."""
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO excluded VALUES (?, ?)", [(run, why) for run in runs])

    # --- runs -----------------------------------------------------------------------------------------------------

    def append(self, *runs: Run) -> None:
        """Add runs with everything below them, or nothing."""
        with self._writing() as connection:
            for run in runs:
                document = json.dumps({name: getattr(run, name) for name in COLUMNS}, allow_nan=True)
                curves = (run.run, _npy(run.losses), _npy(run.reference_losses))
                connection.execute("INSERT INTO runs VALUES (?, ?, ?)", (run.run, run.session, document))
                connection.executemany(
                    _insert("epochs", _EPOCH_COLUMNS), [(run.run, *astuple(row)) for row in run.epoch_rows]
                )
                connection.executemany(
                    _insert("windows", _WINDOW_COLUMNS), [(run.run, *astuple(row)) for row in run.window_rows]
                )
                connection.execute("INSERT INTO losses VALUES (?, ?, ?)", curves)

    def runs(self, session: str | None = None) -> pd.DataFrame:
        """One row per run, in the order in which they were added, of one session or of all.

        Besides the columns of the record there is ``excluded``: why the run does not count any more, empty if it does.
        """
        where, values = ("WHERE session = ?", [session]) if session else ("", [])
        rows = self._select(f"SELECT document FROM runs {where} ORDER BY rowid", values)  # noqa: S608 - one of two texts
        documents = [self._checked(number, document) for number, (document,) in enumerate(rows, start=1)]
        excluded = self._select("SELECT run, why FROM excluded", since=3)
        excluded += self._select(f"SELECT run, why FROM {EXCLUDED_BEFORE}", since=2, until=2)  # noqa: S608 - our own name
        reasons = {run: str(why) for run, why in excluded}
        runs = pd.DataFrame(documents, columns=COLUMNS)
        runs["excluded"] = [reasons.get(run, "") for run in runs["run"]]
        return runs

    def _checked(self, number: int, document: Any) -> dict[str, Any]:
        """Read a run's document; raises StoreError if it is none: a store from elsewhere may hold anything."""
        try:
            values: dict[str, Any] = _Document.model_validate({**_DEFAULTS, **_renamed(_parsed(document))}).model_dump()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where, what = ".".join(map(str, first["loc"])), f"{first['msg']}, but it is {first['input']!r:.60}"
            raise StoreError(f"{self.path}: run {number}: {where}: {what}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"{self.path}: run {number} is not readable: {error}") from None
        return values

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
        for run, own, reference in self._select("SELECT * FROM losses ORDER BY rowid"):
            try:
                losses.append(_array(own, 1))
                judged.append(_padded(_array(reference, 2), len(losses[-1])))
            except (ValueError, TypeError) as error:
                raise StoreError(f"{self.path}: the losses of run {run!s:.60} are not readable: {error}") from None
            runs.append(run)
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
        rows = self._select(f"SELECT {', '.join(columns)} FROM {name} ORDER BY rowid")  # noqa: S608 - our own names
        table = pd.DataFrame.from_records(rows, columns=columns, coerce_float=True)
        for column in columns:
            text = column in ("run", "kind")
            right = table[column].map(lambda value: isinstance(value, str)) if text else _are_numbers(table[column])
            if not right.all():
                wrong = table.loc[~right, column].iloc[0]
                raise StoreError(f"{self.path}: {name}.{column}: {wrong!r:.60} is no {'text' if text else 'number'}")
        return table


def _parsed(document: str) -> Any:
    """Read the JSON of a row; half of a surrogate pair is no text that could be written, and "?" takes its place."""
    values = json.loads(document)
    if "\\ud" in document.lower():
        values = json.loads(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
    return values


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a row under the names of today; raises TypeError or ValueError if they are no dictionary."""
    now = {_RENAMED.get(name, name): value for name, value in dict(values).items()}
    if now.get("phase") in _RENAMED_PHASES:
        now["phase"] = _RENAMED_PHASES[now["phase"]]
    return now


def _insert(table: str, columns: list[str]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * (1 + len(columns)))})"  # noqa: S608 - one of our own names


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(npy: bytes, dimensions: int) -> NDArray[Any]:
    """Read a float array; raises ValueError or TypeError. Nothing is taken at its word before the memory is."""
    begin = len(np.lib.format.MAGIC_PREFIX) + 4 + int.from_bytes(npy[8:10], "little")
    shape, fortran_order, dtype = _header(npy[:begin])
    if dtype.kind != "f" or len(shape) != dimensions or math.prod(shape) * dtype.itemsize != len(npy) - begin:
        raise ValueError(f"an array of {dtype} {shape} in {len(npy)} bytes")
    return np.frombuffer(npy, dtype, offset=begin).reshape(shape, order="F" if fortran_order else "C")


def _are_numbers(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        return pd.Series(True, index=column.index)
    return column.map(lambda value: value is None or isinstance(value, int | float))


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
