"""A host: a worker that has imported a backend's framework, does nothing with it, and is copied for each run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.worker.process import Launch, WorkerError, WorkerProcess
from results.record import Phase


@dataclass(frozen=True)
class Host:
    """A process after the import, or what became of it."""

    process: WorkerProcess
    launch: Launch
    seconds: dict[Phase, float]
    """What its start and its import took."""
    copyable: bool
    """Whether it has no thread but the one that copies: others would be missing in a copy."""

    @property
    def printed(self) -> bytes:
        """What it has printed so far."""
        return self.launch.log.read_bytes()


@dataclass(frozen=True)
class NoHost:
    """Why there is no host, and what was printed before."""

    error: WorkerError
    printed: bytes


def import_framework(process: WorkerProcess, launch: Launch, file: Path) -> Host | NoHost:
    """Have a process that has just been started import a backend's file."""
    try:
        start = process.hello()
        answer = process.ask("import", file=str(file))
    except WorkerError as error:
        process.kill()
        return NoHost(error, launch.log.read_bytes())
    return Host(process, launch, {"start": start, "import": answer.seconds}, answer.values["threads"] == 1)
