"""lockstep's own worker as a machine of a cluster has it, to take turns with one that is started here.

What starts it is the task that a session on a cluster hands out, in a real Dask worker, with a real scheduler beside
it. Both are stopped while others have their turn, so that what they cost is measured with the worker and only there.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from backends.hosting.environments import BackendFile
from benchmarks.cluster import worker as cluster_worker
from benchmarks.cluster.machines import QUIET, RESOURCE, Machines, connected
from benchmarks.cluster.session import LOOK
from benchmarks.cluster.worker import POLL, code_version, run_part
from tests.handwritten.contest import ROOT, LoopFailed, Setting, Worker

RUN = "from tests.handwritten.through_dask import main; main()"

STARTING = 60.0
"""Seconds that the scheduler may take to be there, and then its worker."""


@dataclass
class Cluster:
    """A scheduler with one worker, and a client that looks at them as often as a session does."""

    machines: Machines
    processes: list[subprocess.Popen[bytes]]
    handed_out: list[Any] = field(default_factory=list)
    """The futures of the parts."""
    awake: threading.Event = field(default_factory=threading.Event)

    def signal(self, number: signal.Signals) -> None:
        """Stop the scheduler and the worker, with what they have started for themselves, or let them go on."""
        if number == signal.SIGSTOP:
            self.awake.clear()
        for process in self.processes:
            os.killpg(process.pid, number)
        if number == signal.SIGCONT:
            self.awake.set()

    def watch(self, queue: Any) -> None:
        """Look for messages, ends and workers, as a session does, until the connection is closed."""
        last_look = 0.0
        with suppress(Exception):  # the connection's end has many names
            while self.machines.client.status == "running":
                self.awake.wait()
                queue.get(batch=True)
                any(future.done() for future in self.handed_out)
                if time.monotonic() - last_look > LOOK:
                    last_look = time.monotonic()
                    self.machines.workers()
                time.sleep(POLL)


@contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    """Start a cluster as the README says, for a ``with`` block."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard"]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--resources", f"{RESOURCE}=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_CONFIG": str(QUIET)}
    processes: list[subprocess.Popen[bytes]] = []
    with (folder / "dask.log").open("w") as log:
        try:
            for command in (scheduler, [*worker, "--no-dashboard"]):
                processes.append(
                    subprocess.Popen(
                        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
                    )
                )
                _wait_for(file)
            _wait_for_worker(file)
            with connected(str(file)) as machines:
                machines.client.run(start_contestants)
                yield Cluster(machines, processes)
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for(file: Path, future: Any = None) -> None:
    """Wait until somebody has made a file; ``future`` is that of the task that does it."""
    deadline = time.monotonic() + STARTING
    while not file.exists():
        if time.monotonic() > deadline or (future and future.done()):
            raise LoopFailed(f"Dask has not made {file.name}: see its log in {file.parent}")
        time.sleep(0.1)


def _wait_for_worker(scheduler: Path) -> None:
    """Wait for the worker that was started just now: a session only waits for those that are as good as there."""
    from distributed import Client as DaskClient

    try:
        with DaskClient(scheduler_file=str(scheduler)) as client:
            client.wait_for_workers(1, timeout=STARTING)
    except TimeoutError:
        raise LoopFailed(f"Dask's worker is not there: see its log in {scheduler.parent}") from None


def start_contestants() -> None:
    """Make a Dask worker start contestants instead of sessions, in the same way."""
    cluster_worker.RUN = RUN


class Remote:
    """A worker below a Dask worker."""

    def __init__(self, setting: Setting, backend: BackendFile, mode: str, cluster: Cluster) -> None:
        """Hand it out."""
        from distributed import Queue

        self.name = f"dask {mode}"
        self.steps = setting.steps
        self._cluster = cluster
        setting.folder.mkdir(exist_ok=True)
        address = setting.folder / f"{mode}.socket"
        ticket = f"{setting.folder.parent.name}-{mode}"
        queue = Queue(f"queue-{ticket}", client=cluster.machines.client)
        part = pickle.dumps((setting, backend, mode, str(address)))
        cluster.signal(signal.SIGCONT)
        future = cluster.machines.client.submit(
            run_part, part, code_version(), ticket, queue.name, key=ticket, resources={RESOURCE: 1}, pure=False
        )
        cluster.handed_out = [future]
        threading.Thread(target=cluster.watch, args=[queue], daemon=True).start()
        _wait_for(address, future)
        self._connection: Connection[Any, Any] = Client(str(address), "AF_UNIX")
        self.pid = self._ask("hello")

    def _ask(self, *request: Any) -> Any:
        self._connection.send(request)
        return self._connection.recv()

    def prepare(self) -> float:
        """Wait until it can train, and has trained one call; return its last loss."""
        return float(self._ask("prepare"))

    def train(self, calls: int) -> float:
        """Train so many calls; return the seconds that the process above the worker took for them."""
        return float(self._ask("train", calls))

    def window(self, lead_in: int, calls: int) -> float:
        """Train ``lead_in`` calls, and then those of a window; return the seconds that these took, seen from there."""
        return float(self._ask("window", lead_in, calls))

    def pause(self) -> None:
        """Stop the worker, and Dask."""
        self._ask("pause")
        self._cluster.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._cluster.signal(signal.SIGCONT)
        self._ask("resume")

    def close(self) -> None:
        """End the worker, and the task."""
        self._cluster.signal(signal.SIGCONT)
        self._connection.close()
        with suppress(Exception):  # it ends as it likes
            self._cluster.handed_out[0].result(timeout=30)


def main() -> None:
    """Be the process that a Dask worker starts: do what is asked for through the socket."""
    above = Connection(int(sys.argv[1]))
    setting, backend, mode, address = pickle.loads(above.recv_bytes())  # noqa: S301 - from the process that started this
    with (
        Listener(address, "AF_UNIX") as listener,
        closing(Worker(setting, backend, mode)) as worker,
        listener.accept() as connection,
        suppress(EOFError),
    ):
        while True:
            what, *arguments = connection.recv()
            connection.send(worker.pid if what == "hello" else getattr(worker, what)(*arguments))
