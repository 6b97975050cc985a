"""Results of others."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from typing import Any

from hypothesis import strategies as st

from results.store import COLUMNS
from tests.faults.fuzz.ground import Ground
from tests.faults.fuzz.values import VALUES


@st.composite
def changed_rows(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """Changes of a store that SQLite itself finds nothing wrong with: (table, column, value)."""
    document = st.tuples(st.just("document"), st.sampled_from(list(COLUMNS)), VALUES)
    cell = st.tuples(
        st.sampled_from(["epochs", "windows", "losses", "runs", "excluded", "sessions"]),
        st.sampled_from(
            [
                "run",
                "epoch",
                "kind",
                "turn",
                "seconds",
                "kept",
                "steps",
                "samples",
                "npy",
                "reference_npy",
                "session",
                "document",
                "why",
                "test_loss",
            ]
        ),
        st.one_of(
            st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=10), st.binary(max_size=150)
        ),
    )
    return draw(st.lists(document | cell, min_size=1, max_size=3))


def try_rows(ground: Ground, changes: list[tuple[str, str, Any]]) -> None:
    """Put a changed store beside an intact one, and make its report."""
    path = ground.folder / "given" / "lockstep.sqlite"
    path.write_bytes(ground.store)
    connection = sqlite3.connect(path)
    for table, column, value in changes:
        with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
            if table == "document":
                (text,) = connection.execute("SELECT document FROM runs WHERE rowid = 2").fetchone()
                changed = json.dumps({**json.loads(text), column: value}, default=str)
                connection.execute("UPDATE runs SET document = ? WHERE rowid = 2", (changed,))
            else:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 2", (value,))  # noqa: S608
    connection.commit()
    connection.close()
    _read_everything(ground)


def try_store(ground: Ground, content: bytes) -> None:
    """The same with a file that is no store, or a broken one; what is told about a broken one ends with exit code 1."""
    path = ground.folder / "given" / "lockstep.sqlite"
    path.write_bytes(content)
    _read_everything(ground)


def _read_everything(ground: Ground) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        ground.run("report", "other", "given", "--output", f"{elsewhere}/differences.html")
