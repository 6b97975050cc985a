"""The hosts of a round: each framework is imported once in it, for every number of threads, and copied for the runs.

What a process keeps for as long as it lives, such as where its memory lies, is so drawn anew in every round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machine.processors import spread
from benchmarks.session.side_by_side import side_by_side
from benchmarks.worker.host import Host, NoHost, import_framework
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess


@dataclass(frozen=True)
class Key:
    """What the workers that come from one host have in common."""

    file: Path
    threads: int
    stock: bool


class Hosts:
    """The hosts of one round, which are made when they are needed."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet; every host gets a folder of its own in this one, with its log."""
        self._folder = folder
        self._count = self._round = 0
        self._made: dict[Key, Host | NoHost] = {}
        self._alone: set[Key] = set()
        """What cannot be copied: each of these workers imports its framework itself."""
        self._import_seconds: dict[Key, float] = {}

    def prepare(self, round_: int, wanted: Mapping[Key, Launch]) -> None:
        """Make the hosts that are missing in this round, each launched like a worker that is to come from it.

        Those of another round are ended. The import that took longest before goes first.
        """
        if round_ != self._round:
            self.end()
            self._round = round_
        missing = [key for key in wanted if key not in self._alone and not self._is_there(key)]
        missing.sort(key=lambda key: -self._import_seconds.get(key, 0.0))
        launches: dict[Key, Launch] = {}
        started: dict[Key, WorkerProcess] = {}

        def begin(key: Key, core: int) -> None:
            launches[key] = self._launch(wanted[key], spread(key.threads, core))
            try:
                started[key] = WorkerProcess(launches[key])
            except WorkerError as error:
                self._made[key] = NoHost(error, b"")

        def finish(key: Key) -> None:
            if key in started:
                self._made[key] = import_framework(started[key], launches[key], key.file)

        def give_up() -> None:
            for process in started.values():
                process.kill()

        side_by_side(missing, begin, finish, give_up)
        for key in missing:
            self._look_at(key)

    def of(self, key: Key) -> Host | NoHost | None:
        """The host of these workers, or why there is none; None if they import the framework themselves."""
        return self._made.get(key)

    def end(self) -> None:
        """End all hosts; the workers that come from them go on."""
        for host in self._made.values():
            if isinstance(host, Host):
                host.process.close()
        self._made = {}

    def _is_there(self, key: Key) -> bool:
        host = self._made.get(key)
        return isinstance(host, Host) and host.process.alive

    def _look_at(self, key: Key) -> None:
        host = self._made[key]
        if isinstance(host, Host):
            self._import_seconds[key] = host.seconds["import"]
            if not host.copyable:
                host.process.close()
                del self._made[key]
                self._alone.add(key)

    def _launch(self, worker: Launch, processors: list[int]) -> Launch:
        self._count += 1
        folder = self._folder / f"host-{self._count:04d}"
        folder.mkdir(parents=True)
        environment = {**worker.environment, "TMPDIR": str(folder)}
        return replace(worker, folder=folder, log=folder / "log", environment=environment, processors=processors)
