"""The same command continues an interrupted session: what makes a run the same, and which session it is.

A session is continued by the command that asks for the same, if nobody runs it at the moment and it did not come to
its end: a finished session is measured anew. Runs that are ``ok`` under the same key keep their rows and are not run
again; every other one of the plan is. Ratios stay honest without more: they are taken within a turn, between runs
whose workers were alive together (``Run.comparison``). So where an interruption has cut a round of a comparison, the
runs of its two halves count for their cells' throughputs, and not for ratios across the cut.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from backends.hosting.environments import Interpreters
from benchmarks.cell.plan import Cell
from results.errors import StoreError
from results.store import Store

ANEW = "run again when the session was continued"
CHANGED = "its experiment, data, backend, versions, settings or machine changed before the session was continued"


@dataclass(frozen=True)
class Place:
    """Where a run stands in a plan: what it is called, whatever its content."""

    experiment: str
    point: str
    backend: str
    mode: str
    threads: int
    round: int


@dataclass(frozen=True)
class Content:
    """What stands there: hashes, and what was asked for."""

    experiment: str
    data: str
    backend: str
    device: str
    """As asked for: "cpu", "gpu" or "auto"."""
    precision: str
    start: str
    """Of the weights to start from; empty if they are drawn, which is the experiment's own."""
    stock: bool


def key(place: Place, content: Content, installed: str, machine: dict[str, Any], measured: dict[str, Any]) -> str:
    """SHA-256 of all that is known of a run before it begins, and that its figures depend on.

    That is its place in the plan (with mode, threads and round), the hashes of the experiment (with its seed), the data
    and the backend's file, device and precision, whether it is stock, the versions of the interpreter and of every
    package where it runs (``installed``), the machine without its name, and ``measured``, the options that say what is
    measured. Effective settings follow from these. Time-out, budget and baseline do not enter: they change no figure of
    a run.
    """
    here = {name: value for name, value in machine.items() if name != "host"}
    values = [asdict(place), asdict(content), installed, here, measured]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Keys:
    """What the runs of a session are recognised by."""

    interpreters: Interpreters
    machine: dict[str, Any]
    """``describe_machine()``; in a cluster also its name, as "node"."""
    measured: dict[str, Any]

    def of(self, cell: Cell, round_: int) -> str:
        """The key of a run, empty as long as it is not known with what it would run."""
        installed = self.interpreters.installed(cell.backend)
        if not installed:
            return ""
        experiment, data = cell.materials.experiment.hash, cell.materials.data.hash
        start = cell.materials.start.hash if cell.materials.start else ""
        content = Content(experiment, data, cell.backend.hash, cell.device, cell.precision, start, cell.stock)
        return key(place(cell, round_), content, installed, self.machine, self.measured)


def place(cell: Cell, round_: int) -> Place:
    """Where the run of a cell in a round stands."""
    materials = cell.materials
    return Place(materials.name, materials.point, cell.backend.name, cell.mode, cell.threads, round_)


def asked(selection: dict[str, Any], measured: dict[str, Any], rounds: dict[str, Any]) -> str:
    """SHA-256 of what a command asks for."""
    what = [selection, measured, rounds]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@contextmanager
def claim(store: Store, what: str, fresh: bool = False) -> Iterator[str]:
    """Take over the newest session that set out to do ``what`` and was interrupted, else enter a new one.

    Yields its name, and keeps other processes from taking it over. ``fresh`` gives up the interrupted ones instead.
    Raises StoreError if the results folder cannot be written.
    """
    interrupted = store.unfinished(what)
    for name in interrupted:
        lock = _lock(store, name)
        if lock is None:
            continue  # it is running
        if not fresh and name in store.unfinished(what):
            break
        store.finish(name)
        lock.release()
    else:
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        lock = _lock(store, name)
        assert lock, "nobody else knows this name"  # noqa: S101
        store.begin(name, what)
    try:
        yield name
    finally:
        lock.release()


def _lock(store: Store, session: str) -> FileLock | None:
    """Hold a session, as long as this process lives; None if another one holds it."""
    folder = store.folder / "logs"
    lock = FileLock(folder / f"{session}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from None
    return lock


def go_on(store: Store, session: str, cells: Sequence[Cell], keys: Keys) -> tuple[int, set[str]]:
    """The number of runs that a session has had so far, and the keys of those that stand; exclude the others."""
    rows = store.runs(session)
    now = [(place(cell, round_), keys.of(cell, round_)) for round_ in sorted(set(rows["round"])) for cell in cells]
    standing, excluding = sort_rows(rows, now)
    for why in dict.fromkeys(excluding.values()):
        store.exclude([run for run, reason in excluding.items() if reason == why], why)
    return max((int(run.rsplit("-", 1)[1]) for run in rows["run"]), default=0), standing


def sort_rows(rows: pd.DataFrame, contents: Sequence[tuple[Place, str]]) -> tuple[set[str], dict[str, str]]:
    """Say which rows of a session stand, and which are to be excluded, and why.

    ``contents`` are the places of the session's cells in every round that it has rows of, each with its present key.
    Returns the keys of the rows that are ok and the same now, and for each other row that still counts the reason.
    """
    now = dict(contents)
    standing, excluding = set(), {}
    for row in rows[rows["excluded"] == ""].to_dict("records"):
        names = ("experiment", "sweep_point", "backend", "mode", "threads_asked", "round")
        place = Place(*(row[name] for name in names))
        if row["status"] != "ok":
            excluding[str(row["run"])] = ANEW
        elif not row["resume_key"] or now.get(place) != row["resume_key"]:
            excluding[str(row["run"])] = CHANGED
        else:
            standing.add(str(row["resume_key"]))
    return standing, excluding
