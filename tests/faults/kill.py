"""The kill test: the bench is killed at random moments, again and again on the same results folder.

After each kill, every run that had been reported as finished has to be in the store, bit for bit, and so has every run
that was there before; and the next command has to work, which is the same bench, until it is killed in its turn.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from results.errors import StoreError
from tests.faults.helpers import Bench, clean
from tests.faults.quick import ROW, digests_of_store


@dataclass
class KillTest:
    """Kills, and what was found after them."""

    bench: Bench
    tell: Callable[[str], None]
    kills: int = 0
    survived: int = 0
    known: dict[str, str] = field(default_factory=dict)
    """Digest of every run that was ever reported as finished, or found in the store."""
    problems: list[str] = field(default_factory=list)
    longest: float = 20.0
    """Seconds that the bench may live; what a whole one takes, once that is known."""

    def run(self, kills: int, seed: int) -> None:
        """Kill so many benches, each at a moment drawn from its whole life."""
        moments = random.Random(seed)  # noqa: S311 - moments, not secrets
        while self.kills < kills:
            self.kill_once(moments.uniform(0, self.longest))

    def kill_once(self, seconds: float) -> None:
        """Start the bench, kill it after some seconds, and look at what is left."""
        begin = time.monotonic()
        process = self.bench.start()
        workers: list[psutil.Process] = []
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.kill()
        output = process.communicate()[0]
        if process.returncode >= 0:  # it was faster than the signal
            self.longest = time.monotonic() - begin
            if process.returncode:
                self.problems.append(f"the next command ended with {process.returncode}: {output[-300:]}")
            self._look(output)
            return
        self.kills += 1
        fine = self._look(output)
        left = psutil.wait_procs(workers, timeout=5)[1]
        if left:
            self.problems.append(f"{len(left)} workers are left")
        self.survived += fine and not left
        self.tell(f"killed after {seconds:.1f} s: {len(self.known)} runs known, {self.survived}/{self.kills} survived")

    def _look(self, output: str) -> bool:
        reported = dict(line.split()[1:] for line in output.splitlines(keepends=True) if _whole(line))
        self.known |= reported
        stored = digests_of_store(self.bench.store.path) if self.bench.store.path.exists() else {}
        lost = [run for run, digest in self.known.items() if stored.get(run) != digest]
        if lost:
            self.problems.append(f"lost or changed: {', '.join(lost)}")
        if not clean(output):
            self.problems.append(f"a traceback: {output[-300:]}")
        try:
            self.bench.store.check()
            readable = len(self.bench.runs) == len(stored)
        except StoreError as error:
            self.problems.append(str(error))
            readable = False
        self.known |= stored
        return not lost and readable and clean(output)


def _whole(line: str) -> bool:
    return line.startswith(f"{ROW} ") and line.endswith("\n") and len(line.split()) == 3


def kill_test(folder: Path, kills: int, seed: int, tell: Callable[[str], None]) -> KillTest:
    """Run the test in a folder; see ``KillTest`` for what it found."""
    test = KillTest(Bench(folder, repeats=4), tell)
    test.run(kills, seed)
    return test
