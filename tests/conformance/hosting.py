"""A framework is imported once for a backend's modes, and its process copied for each worker of one thread.

As a session does it (``benchmarks/session/hosts.py``). What cannot be copied imports its framework in every worker.
"""

from __future__ import annotations

import threading
from pathlib import Path

from benchmarks.worker.host import Host, NoHost, import_framework
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess


class Crew:
    """The workers of a mode that are alive, to be ended all at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._alive: set[WorkerProcess] = set()
        self._dismissed = False

    def join(self, process: WorkerProcess) -> None:
        """Count a worker in; raises WorkerError if all are to end."""
        with self._lock:
            self._alive.add(process)
        if self._dismissed:
            raise WorkerError("interrupted", "the kit was stopped")

    def leave(self, process: WorkerProcess) -> None:
        """End a worker."""
        with self._lock:
            self._alive.discard(process)
        process.kill()

    def dismiss(self) -> None:
        """End all, and whoever joins from now on."""
        self._dismissed = True
        with self._lock:
            for process in self._alive:
                process.kill()


class SharedHost:
    """A host, or why there is none, from which several threads may want a copy."""

    def __init__(self, launch: Launch, file: Path) -> None:
        """Import the framework; the copies do not outlive the thread that does."""
        self._lock = threading.Lock()
        self._made: Host | NoHost
        try:
            self._made = import_framework(WorkerProcess(launch), launch, file)
        except WorkerError as error:
            self._made = NoHost(error, b"")
        self.copyable = not isinstance(self._made, Host) or self._made.copyable
        if not self.copyable:
            self.end()

    def copy(self, launch: Launch) -> WorkerProcess:
        """Make a worker, of which nothing has been asked; raises the WorkerError of the import."""
        if isinstance(self._made, NoHost):
            launch.log.write_bytes(self._made.printed)
            raise WorkerError(self._made.error.status, str(self._made.error))
        with self._lock:
            process = WorkerProcess(launch, self._made.process, self._made.printed)
        process.hello()
        return process

    def end(self) -> None:
        """End the host; its copies go on."""
        if isinstance(self._made, Host):
            self._made.process.close()
