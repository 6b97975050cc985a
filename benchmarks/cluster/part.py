"""A comparison on a machine of a cluster: the session of a process of its own, whose rows are sent on as they end.

``main`` reads a ``Part`` from the inherited socket whose number is the only argument, runs it as ``lockstep run``
would, and sends messages back. It is a process of its own because Dask runs tasks in threads, which no signal reaches,
and because nothing else is to happen in the process that takes the times. When the socket is closed or something else
comes through it, the process stops as after a Ctrl-C: who has started it is gone, or wants no more.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import BackendFile, BackendFileError, Interpreters
from benchmarks.errors import DataError, InputError
from benchmarks.machine.description import node_name
from benchmarks.session import signals
from benchmarks.session.local import prepare_cells
from benchmarks.session.progress import TerminalProgress
from benchmarks.session.request import Request
from benchmarks.session.session import Session
from results.errors import StoreError
from results.record import Run, Window
from results.store import COLUMNS, Store

Kind = Literal["started", "message", "row", "exclude", "refused", "ended"]
Send = Callable[[Kind, Any], None]
"""Sends a message to where the results are kept: what it is, and what belongs to it."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """A run that has ended, and the files that belong to it: by their paths in the results folder, what is in them."""

    run: Run
    files: dict[str, bytes]


@dataclass(frozen=True)
class Part:
    """What a machine of a cluster is asked to run: one comparison, all its rounds."""

    name: str
    """Of the session that the machine makes of it; its runs are called after it."""
    request: Request
    """With one variant; backends that do not come with lockstep are in ``files``."""
    files: dict[str, dict[str, bytes]]
    """What every backend that does not come with lockstep is made of, by its name: files by their paths beside it."""
    earlier: Rows
    """The runs of the comparison that count so far, from all machines, as rows of the store."""
    windows: Rows
    """Their windows."""


def main() -> None:
    """Run the part that comes through the socket."""
    signals.install()
    connection = Connection(int(sys.argv[1]))
    part: Part = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the Dask worker that started this process
    threading.Thread(target=_stop_when_told, args=[connection], daemon=True).start()

    def send(kind: Kind, content: Any) -> None:
        connection.send_bytes(pickle.dumps((kind, content)))

    with suppress(BrokenPipeError):  # nobody is there to listen any more
        _run_and_tell(part, send)


def _run_and_tell(part: Part, send: Send) -> None:
    send("started", node_name())
    try:
        with alone(lambda text: send("message", text)), tempfile.TemporaryDirectory(prefix="lockstep-") as scratch:
            run(part, send, Path(scratch))
    except signals.Interrupted:
        pass
    except BrokenPipeError:
        raise
    except (InputError, DataError, BackendFileError, StoreError, OSError) as error:
        send("refused", " ".join(str(error).split()))
    send("ended", None)


def _stop_when_told(connection: Connection) -> None:
    try:
        connection.recv_bytes()
    except (EOFError, OSError):
        pass
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def alone(tell: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other part runs on this machine, whatever Dask workers there are: timings share nothing.

    The lock is one of this user and of the folder for temporary files; it ends with the process that holds it.
    """
    lock = FileLock(Path(tempfile.gettempdir()) / f"lockstep-{os.getuid()}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("another Dask worker of this machine is measuring: waiting for it")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def run(part: Part, send: Send, scratch: Path) -> None:
    """Run what is missing of a part; raises what ``lockstep run`` would raise for bad input."""
    node = node_name()
    # What other machines have done, or what ended badly under this very command, is not run again.
    settled = [row for row in part.earlier if row["node"] != node or row["status"] != "ok"]
    own = [row for row in part.earlier if row not in settled]
    progress = _Relayed(send, part.request.options.log_every)
    store = _SendingStore(scratch / "results", own, part.windows, send)
    interpreters = Interpreters(part.request.pythons, progress.message, part.request.options.offline)
    cells = prepare_cells(_unpacked(part), interpreters, scratch)
    elsewhere = {(row["backend"], row["mode"], row["round"]) for row in settled}
    Session(part.name, cells, part.request.options, interpreters, scratch, store, progress, node, elsewhere).execute()


def _unpacked(part: Part) -> Request:
    """The request with the backends' files of this machine."""
    modes = []
    for backend, mode in part.request.modes:
        files = part.files.get(backend.name)
        here = environments.find(backend.name) if files is None else environments.read(_written(backend, files))
        modes.append((here, mode))
    return replace(part.request, modes=modes)


def _written(backend: BackendFile, files: dict[str, bytes]) -> Path:
    """A backend's file that has travelled: always at the same place, so that it has one environment."""
    folder = user_cache_path("lockstep") / "backends" / backend.hash[:16]
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    return folder / f"{backend.name}.py"


class _Relayed(TerminalProgress):
    """Sends what is to be told to where the results are kept; there, rows and the plan are shown as well."""

    def __init__(self, send: Send, log_every: int | None) -> None:
        super().__init__(Console(file=io.StringIO()), log_every)
        self._send = send

    def message(self, text: str) -> None:
        self._send("message", text)

    def plan(self, runs: Sequence[Run]) -> None:
        """Nothing: the plan is that of all machines."""

    def outlook(self, estimate: str, session: str, standing: int) -> None:
        """Nothing: the same."""

    def ended(self, run: Run, seconds: float) -> None:
        """Nothing: the row itself is on its way."""


class _SendingStore(Store):
    """The results of one part while it runs; every row is sent on, with its log and its models."""

    def __init__(self, folder: Path, earlier: Rows, windows: Rows, send: Send) -> None:
        super().__init__(folder)
        self._earlier = pd.DataFrame(earlier, columns=[*COLUMNS, "excluded"])
        columns = ["run", *(item.name for item in fields(Window))]
        self._windows = pd.DataFrame(windows, columns=columns)
        self._send = send

    def append(self, *runs: Run) -> None:
        super().append(*runs)
        for run in runs:
            names = [run.log, *(kept["file"] for kept in run.models.values())]
            files = {name: path.read_bytes() for name in names if (path := self.folder / name).exists()}
            self._send("row", Row(run, files))

    def exclude(self, runs: Sequence[str], why: str) -> None:
        self._earlier = self._earlier[~self._earlier["run"].isin(runs)]
        self._send("exclude", (list(runs), why))

    def finish(self, session: str) -> None:
        """Nothing: the session is one of all machines."""

    def runs(self, session: str | None = None) -> pd.DataFrame:
        """Everything here is of one session, whatever the machine calls it."""
        return _joined(self._earlier, super().runs())

    def windows(self, session: str | None = None) -> pd.DataFrame:
        return _joined(self._windows, super().windows())


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """One below the other; an empty table has no types that could be taken over."""
    return (
        pd.concat([first, second], ignore_index=True) if len(first) and len(second) else first if len(first) else second
    )
