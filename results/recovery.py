"""A damaged store: what can be read goes into a new one, and the damaged file stays beside it.

SQLite refuses a truncated file as a whole, but finds every row whose pages are left when it is asked for one row at a
time. That takes some microseconds each, and needs no more than the ``sqlite3`` module.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.errors import StoreError
from results.store import EXCLUDED_BEFORE, FORMAT, SCHEMA, TABLES

SMALLEST_ROW = 20
"""Bytes that a row takes at least; so a file cannot hold rows with larger numbers than its size by this."""

MAGIC = b"SQLite format 3\0"

DETAILS = ("epochs", "windows")
"""Tables with several rows for a run, which stand one after the other: they were written at once."""


@dataclass
class _Rows:
    """What could be read of a table."""

    columns: list[str] = field(default_factory=list)
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """By their number in the table."""
    lost: set[int] = field(default_factory=set)
    """Numbers that may have been rows."""

    @property
    def runs(self) -> set[str]:
        """The names of runs in the first column."""
        return {row[0] for row in self.rows.values()}

    @property
    def beside_the_damage(self) -> set[str]:
        """The runs of which another row may have stood right before or after those that were read."""
        return {row[0] for number, row in self.rows.items() if {number - 1, number + 1} & self.lost}


def recover(path: Path) -> str:
    """Move a damaged store aside and put one with all that can be read in its place; return what happened, in a line.

    Runs some of whose epochs, windows or losses may be missing are kept, but excluded. Raises StoreError if the file
    is no store at all, or if the new one cannot be written.
    """
    if not _is_sqlite(path):
        raise StoreError(f"{path}: this is no store; move it away, or name another folder with --results")
    found = _read_all(path)
    runs = found["runs"].runs
    details = [found[name] for name in (*DETAILS, "losses")]
    named = runs.union(*(table.runs for table in details))
    incomplete = {
        run
        for run in runs
        if any(run in found[name].beside_the_damage for name in DETAILS)
        or any(table.lost and run not in table.runs for table in details)
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside = _free_name(path)
    try:
        part.unlink(missing_ok=True)
        _write(part, found, incomplete)
        os.link(path, aside)
        part.replace(path)  # from one moment to the next: there is never no store
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{path}: damaged, and what can be read cannot be written: {error}") from None
    return (
        f"{len(runs)} runs could be read and are kept ({len(incomplete)} of them excluded, because some of their "
        f"details may be missing), {len(named - runs)} or more are lost; the damaged file is now {aside.name}"
    )


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")).exists():
        number += 1
    return aside


def _read_all(path: Path) -> dict[str, _Rows]:
    """Read all tables from a copy that has whole pages only: what is missing of a page must not be read as zeros."""
    copy = path.with_name(f".{path.name}.{os.getpid()}.copy")
    try:
        shutil.copyfile(path, copy)
        with copy.open("r+b") as file:
            page_size = int.from_bytes(file.read(18)[16:], "big")
            size = copy.stat().st_size
            file.truncate(size - size % (65536 if page_size == 1 else max(page_size, 512)))
        found = {name: _read(copy, name) for name in TABLES}
        if not found["excluded"].columns:
            found["excluded"] = _read(copy, EXCLUDED_BEFORE)
        return found
    except OSError as error:
        raise StoreError(f"{path}: damaged, and cannot be copied to read the rest: {error}") from None
    finally:
        copy.unlink(missing_ok=True)


def _read(path: Path, table: str) -> _Rows:
    """Ask for the rows of a table one by one."""
    found = _Rows()
    # Immutable: nothing of the damaged file is changed. A writable schema lets SQLite read a file that is too short.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        connection.execute("PRAGMA writable_schema = ON")
        found.columns = [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
        if not found.columns:  # an older store does not have it
            return found
        for number in range(1, path.stat().st_size // SMALLEST_ROW + 1):
            try:
                row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (number,)).fetchone()  # noqa: S608
            except (sqlite3.Error, UnicodeDecodeError):
                found.lost.add(number)
                continue
            if row is not None:
                found.rows[number] = row
    except (sqlite3.Error, UnicodeDecodeError):  # not even the places of the tables in the file are known
        return found
    finally:
        connection.close()
    return found


def _write(path: Path, found: dict[str, _Rows], incomplete: set[str]) -> None:
    """Make a store of the rows that were read; what belongs to a run without its own row is left out."""
    runs = found["runs"].runs
    connection = sqlite3.connect(path)
    with connection:
        for statement in SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        for name, table in found.items():
            rows = [row for row in table.rows.values() if name == "sessions" or row[0] in runs]
            if rows:
                names, places = ", ".join(table.columns), ", ".join("?" * len(table.columns))
                statement = f"INSERT OR IGNORE INTO {name} ({names}) VALUES ({places})"  # noqa: S608 - our own names
                connection.executemany(statement, rows)
        why = "the store was damaged: some of its epochs, windows or losses may be missing"
        connection.executemany(
            "INSERT OR IGNORE INTO excluded VALUES (?, ?)", [(run, why) for run in sorted(incomplete)]
        )
    connection.close()
