"""The command behind ``nox -s speed``: how long do people wait for lockstep, and what does it take meanwhile?

Processor time and memory are those of the whole process, as the kernel counts them (wait4). With ``--against`` the same
commands of another commit run in turns with those of this one, from a clone with an environment of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table
from uv import find_uv_bin

from backends.hosting import environments
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.machine.processors import processors_for
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.host import Host, import_framework
from benchmarks.worker.process import Launch, WorkerProcess
from tests.speed import judge

ROOT = Path(__file__).parents[2]
MB = 2**20
FIRST_FIGURES = "preliminary, one round: "
"""What the first line with ratios begins with; an older build prints them in its tables only."""

OF_A_BENCH = (
    "default bench, s until the first ratios",
    "default bench, s in all",
    "default bench, MB of lockstep's own process",
    "default bench, MB of all processes together",
)
LOOK_EVERY = 3.0
"""Seconds from one look at the memory of a bench to the next: a look takes some milliseconds of it."""


@dataclass(frozen=True)
class Build:
    """A checkout, and the interpreter of its environment."""

    name: str
    folder: Path
    python: Path

    def run(self, *arguments: str) -> tuple[float, float]:
        """Run a command of its command line; return processor seconds, and the largest resident size in MB."""
        process = subprocess.Popen([str(self.python.with_name("lockstep")), *arguments], stdout=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MB

    def bench(self, results: Path) -> tuple[float, ...]:
        """Run the default bench; return what ``OF_A_BENCH`` names."""
        begin, first = time.perf_counter(), 0.0
        command = [str(self.python.with_name("lockstep")), "run", "--results", str(results)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=self.folder) as process,
            closing(Memory(process.pid)) as memory,
        ):
            assert process.stdout
            for line in process.stdout:
                if not first and (line.startswith(FIRST_FIGURES) or line.startswith("Figures are of")):
                    first = time.perf_counter() - begin
        return first, time.perf_counter() - begin, memory.own, memory.together


class Memory:
    """Looks every few seconds how much a process and those below it take, in MB, and keeps the largest."""

    def __init__(self, pid: int) -> None:
        """Begin to look, in a thread."""
        self.own = 0.0
        """Resident, of the process alone."""
        self.together = 0.0
        """Of all of them; what several share counts once (the kernel's proportional set size)."""
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            together = 0.0
            with suppress(psutil.NoSuchProcess):
                self.own = max(self.own, self._process.memory_info().rss / MB)
                for process in [self._process, *self._process.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        together += process.memory_full_info().pss / MB
            self.together = max(self.together, together)


def main() -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="nox -s speed --", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="how often all is measured (default: %(default)s)")
    parser.add_argument("--no-bench", action="store_true", help="leave the default bench out, which takes minutes")
    parser.add_argument("--against", metavar="COMMIT", help="also measure the command line and bench of this commit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        builds = [Build("here", ROOT, Path(sys.executable))]
        if arguments.against:
            builds.append(_checked_out(arguments.against, Path(folder)))
        rows = _of_the_command_line(builds, arguments.repeats, None if arguments.no_bench else Path(folder))
        rows += _of_the_processes(arguments.repeats, Path(folder))
        rows += _of_the_judge(arguments.repeats, Path(folder))
    table = Table("what", *(build.name for build in builds), box=box.SIMPLE_HEAD)
    for what, *figures in rows:
        table.add_row(what, *figures, *[""] * (len(builds) - len(figures)))
    Console(width=110).print(table)
    return 0


def _checked_out(commit: str, folder: Path) -> Build:
    """Another commit, installed; it shares the environments of the frameworks where their requirements are the same."""
    place = folder / "other"
    git = shutil.which("git") or "git"
    subprocess.run([git, "clone", "-q", "--shared", str(ROOT), str(place)], check=True)
    subprocess.run([git, "-C", str(place), "checkout", "-q", commit], check=True)
    python = place / ".venv" / "bin" / "python"
    subprocess.run([find_uv_bin(), "venv", "-q", str(place / ".venv")], check=True)
    subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", str(python), "-e", str(place)], check=True)
    (place / ".environments").symlink_to(environments.ENVIRONMENTS)
    return Build(commit, place, python)


def _of_the_command_line(builds: Sequence[Build], repeats: int, folder: Path | None) -> list[list[str]]:
    """Rows of figures, the builds in turns."""
    rows = []
    for arguments in (["--help"], ["list"]):
        measured: dict[str, list[tuple[float, float]]] = {build.name: [] for build in builds}
        for _ in range(repeats):
            for build in builds:
                measured[build.name].append(build.run(*arguments))
        for place, unit in enumerate(("s of processor time", "MB")):
            what = f"lockstep {arguments[0]}, {unit}"
            rows.append([what, *(told([pair[place] for pair in found]) for found in measured.values())])
    if folder:
        benches: dict[str, list[tuple[float, ...]]] = {build.name: [] for build in builds}
        for number in range(repeats):
            for build in builds:
                benches[build.name].append(build.bench(folder / f"{build.name}-{number}"))
        for place, what in enumerate(OF_A_BENCH):
            rows.append([what, *(told([pair[place] for pair in found]) for found in benches.values())])
    return rows


def _of_the_processes(repeats: int, folder: Path) -> list[list[str]]:
    """What one more run costs once a framework is imported, and the memory that is a waiting worker's own."""
    interpreters = Interpreters({}, print)
    rows = []
    for name in ("pytorch", "jax", "mindspore"):
        backend = environments.find(name)
        python = interpreters.path(backend)
        ready, alone, copied = [], [], []
        for number in range(repeats):
            launch = _launcher(python, folder / f"{name}-{number}")
            host_launch = launch("host")
            process = WorkerProcess(host_launch)
            host = import_framework(process, host_launch, backend.path)
            assert isinstance(host, Host), "it could be imported before"
            begin = time.perf_counter()
            worker = WorkerProcess(launch("copy"), host.process)
            worker.hello()
            ready.append(time.perf_counter() - begin)
            copied.append(psutil.Process(worker.pid).memory_full_info().uss / MB)
            worker.kill()
            process.kill()  # alone: with the host gone, nothing is shared with it
            alone.append(_memory_alone(launch("alone"), backend))
        rows.append([f"{name}: s until one more process is ready", told(ready)])
        rows.append([f"{name}: MB of its own, forked", told(copied)])
        rows.append([f"{name}: MB of its own, imported alone", told(alone)])
    return rows


def _of_the_judge(repeats: int, folder: Path) -> list[list[str]]:
    """A step of the reference beside PyTorch's, in turns, and how far it gets with a deep network."""
    interpreters = Interpreters({}, print)
    python = interpreters.path(environments.find("pytorch"))
    own, other, steps = [], [], []
    for number in range(repeats):
        own.append(judge.reference_step(interpreters, folder / f"digits-{number}"))
        other.append(judge.pytorch_step(python))
        steps.append(judge.steps_of_resnet(interpreters, folder / f"resnet-{number}"))
    return [
        ["digits CNN, ms of a step of the reference", told(own)],
        ["digits CNN, ms of a step of PyTorch in float64", told(other)],
        ["ResNet-20, batch 32: steps that are judged", told(steps)],
    ]


def _launcher(python: Path, folder: Path) -> Callable[[str], Launch]:
    def launch(name: str) -> Launch:
        own = folder / name
        own.mkdir(parents=True)
        environment = {**worker_environment(1), "TMPDIR": str(own)}
        return Launch(python, own, own / "log", environment, processors_for(1), 120)

    return launch


def _memory_alone(launch: Launch, backend: BackendFile) -> float:
    process = WorkerProcess(launch)
    import_framework(process, launch, backend.path)
    used = psutil.Process(process.pid).memory_full_info().uss / MB
    process.kill()
    return used


def told(values: Sequence[float]) -> str:
    """The median, and the range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    sys.exit(main())
