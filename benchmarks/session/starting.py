"""How the workers of a comparison come to be: launches, the hosts that they are copies of, and their first steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from backends.hosting.environments import EnvironmentFailed, Interpreters
from benchmarks.cell.plan import Cell
from benchmarks.cell.run import CellRun
from benchmarks.machine.processors import places, processors_for
from benchmarks.session.hosts import Hosts, Key
from benchmarks.session.peaks import Contestant
from benchmarks.session.resume import Keys
from benchmarks.session.side_by_side import side_by_side
from benchmarks.session.signals import shielded
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.host import Host, NoHost
from benchmarks.worker.process import Launch

AnyHost = Host | NoHost | None
"""What a worker is a copy of, or why there is none; None if it imports the framework itself."""


class Starter:
    """Starts the workers of a session."""

    def __init__(self, interpreters: Interpreters, scratch: Path, logs: Path, timeout: float, keys: Keys) -> None:
        """Give workers folders in ``scratch``, log files in ``logs``, and so many seconds for a run."""
        self._interpreters = interpreters
        self._scratch = scratch
        self._logs = logs
        self._timeout = timeout
        self._keys = keys
        self._hosts = Hosts(scratch)

    def end(self) -> None:
        """End all hosts."""
        self._hosts.end()

    def start(self, runs: Sequence[CellRun]) -> None:
        """Start the processes: copies of the hosts of the round, which are made if they are not there."""
        launches = [(run, launch) for run in runs if (launch := self._launch(run))]
        if not launches:
            return
        hosts = self._hosts_of([(run.cell, launch) for run, launch in launches], runs[0].record.round)
        alone = []
        for (run, launch), host in zip(launches, hosts, strict=True):
            if isinstance(host, NoHost):
                launch.log.write_bytes(host.printed)
                run.record.phase = "import"
                run.end(host.error.status, str(host.error))
            elif host is None:
                alone.append((run, launch))
            else:
                _start(run, launch, host)
                _import(run)

        def begin(item: tuple[CellRun, Launch], core: int) -> None:
            _start(*item)

        side_by_side(alone, begin, lambda item: _import(item[0]), lambda: _end(run for run, _ in alone))

    def get_ready(self, runs: Sequence[CellRun]) -> None:
        """Have the workers load, and compile with their first step, as many at once as there are cores for."""
        if not runs:
            return
        apart = places(runs[0].cell.threads)
        if any(run.record.device != "cpu" or run.record.replicas > 1 for run in runs):
            apart = apart[:1]  # a GPU cannot be shared out, and replicas have places of their own
        place_of: dict[str, int] = {}

        def begin(run: CellRun, place: int) -> None:
            place_of[run.record.run] = place

        def finish(run: CellRun) -> None:
            with run.turn(), run.at(apart[place_of[run.record.run]]):
                run.prepare()
                run.first_step()

        side_by_side(runs, begin, finish, lambda: _end(runs), len(apart))

    def contestants(self, cells: Iterable[Cell], round_: int, session: str) -> list[Contestant]:
        """What is needed to measure the peak of some backends, one cell of each, of those that have an environment."""
        workers = []
        for cell in cells:
            with suppress(EnvironmentFailed):  # its runs will tell
                python = self._interpreters.path(cell.backend)
                name = f"peak-{cell.threads}-{cell.backend.name}"
                environment = worker_environment(cell.threads, cell.stock)
                processors, log = processors_for(cell.threads), self._logs / f"{session}-{name}.log"
                launch = Launch(python, self._scratch / name, log, environment, processors, self._timeout)
                workers.append((cell, launch))
        hosts = self._hosts_of(workers, round_)
        return [
            Contestant(cell.backend, cell.device, launch, cell.stock, host)
            for (cell, launch), host in zip(workers, hosts, strict=True)
        ]

    def _hosts_of(self, workers: Sequence[tuple[Cell, Launch]], round_: int) -> list[AnyHost]:
        keys = [
            Key(cell.backend.path, cell.threads, cell.stock) if cell.backend.forkable and not launch.arguments else None
            for cell, launch in workers
        ]
        self._hosts.prepare(round_, {key: launch for key, (_, launch) in zip(keys, workers, strict=True) if key})
        return [self._hosts.of(key) if key else None for key in keys]

    def _launch(self, run: CellRun) -> Launch | None:
        """How the worker of a run is to be started; None if its environment cannot be made."""
        record, cell = run.record, run.cell
        log = self._logs / f"{record.run}.log"
        begin = time.perf_counter()
        try:
            python = self._interpreters.path(cell.backend)
        except EnvironmentFailed as error:
            log.write_text(f"{error}\n")
            record.phase = "environment"
            run.end("failed", str(error))
            return None
        record.environment_seconds = time.perf_counter() - begin
        # Compilers keep their results in the folder for temporary files, as far as they keep them at all: what one
        # process of a mode has left there, later ones find, as those of a user do.
        cache = self._scratch / f"cache-{record.backend}-{record.mode}-{cell.threads}{'-stock' if cell.stock else ''}"
        cache.mkdir(exist_ok=True)
        environment = {**worker_environment(cell.threads, cell.stock), "TMPDIR": str(cache)}
        record.resume_key = self._keys.of(cell, record.round)
        replication = cell.backend.arguments(cell.materials.experiment.replicas)
        where = processors_for(cell.threads)
        return Launch(python, self._scratch / record.run, log, environment, where, self._timeout, replication)


def _start(run: CellRun, launch: Launch, host: Host | None = None) -> None:
    with shielded():
        run.start(launch, host)


def _import(run: CellRun) -> None:
    with run.turn():
        run.import_framework()


def _end(runs: Iterable[CellRun]) -> None:
    for run in runs:
        run.end_worker()
