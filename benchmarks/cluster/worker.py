"""What runs on a Dask worker: the task that starts a part of a plan in a process of its own, and passes messages on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dask
from distributed import Event, Queue, get_worker

import backends
from benchmarks.machine.description import node_name
from benchmarks.machine.processors import default_threads, processor_count

LOST, OTHER_VERSION = "lost", "other version"
"""How a task ends that did not run its part; None is how it ends otherwise."""

RUN = "from benchmarks.cluster.part import main; main()"
"""Not as a script: what it sends is pickled, and has to be of a module that the client knows."""

PATIENCE = 20.0
"""Seconds that a process may take to end in order."""

POLL = 0.5
"""Seconds between two looks at whether the part is still wanted."""


@dataclass(frozen=True)
class Introduction:
    """What a worker says of itself."""

    version: str
    node: str
    processors: int
    default_threads: int


def introduce() -> Introduction:
    """Say what this worker is."""
    return Introduction(code_version(), node_name(), processor_count(), default_threads())


@cache
def code_version() -> str:
    """The version of lockstep, with a hash of its code: all machines of a session have to run the same."""
    root = Path(backends.__file__).parents[1]
    digest = sha256()
    for package in ("backends", "benchmarks", "results"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)} {len(path.read_bytes())} ".encode() + path.read_bytes())
    return f"{version('lockstep')} ({digest.hexdigest()[:8]})"


def run_part(part: bytes, expected: str, ticket: str, messages: str) -> str | None:
    """Run a part in a process of its own until it ends or is wanted no more; pass its messages on as they come.

    ``part`` is a pickled ``part.Part``, ``expected`` the version of lockstep that made it, ``ticket`` the name
    of the event that says that it was begun once, and ``messages`` that of the queue. Returns None, ``LOST`` if the
    part was begun before or its process died, or ``OTHER_VERSION``.
    """
    begun, queue = Event(ticket), Queue(messages)
    # Dask gives the task of a worker that died to another one; but what is left to be run, the client alone knows.
    if begun.is_set():
        return LOST
    begun.set()
    if code_version() != expected:
        return OTHER_VERSION
    ours, theirs = Pipe()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", RUN, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            with suppress(BrokenPipeError):  # it has died already
                ours.send_bytes(part)
            _relay(ours, queue, ticket)
        finally:
            ours.close()  # which stops it, if it is still there
            _end(process)
    return None if process.returncode == 0 else LOST


def _relay(process: Connection, queue: Any, ticket: str) -> None:
    """Pass messages on until the process closes its end; ask it to stop when its part is wanted no more."""
    worker = get_worker()
    key = worker.get_current_task()
    stopped_at: float | None = None
    while stopped_at is None or time.monotonic() - stopped_at < PATIENCE:
        if process.poll(POLL):
            try:
                message = process.recv_bytes()
            except (EOFError, OSError):
                return
            queue.put([ticket, message])
        elif stopped_at is None and not _is_wanted(worker, key):
            stopped_at = time.monotonic()
            with suppress(OSError):
                process.send_bytes(b"stop")


def _is_wanted(worker: Any, key: str) -> bool:
    """Whether anybody waits for the task: nobody does once it was cancelled, or its client is gone."""
    task = worker.state.tasks.get(key)
    open_ = worker.status.name in ("running", "paused")
    return open_ and task is not None and task.state in ("executing", "long-running")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the process; its own workers end with it, also if it has to be killed."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment() -> dict[str, str]:
    """The variables of the worker without those that Dask's nanny sets for its own sake, which would move timings."""
    nanny = {"PYTHONHASHSEED": "6640", **dask.config.get("distributed.nanny.pre-spawn-environ", {})}
    return {name: value for name, value in os.environ.items() if str(nanny.get(name)) != value}
