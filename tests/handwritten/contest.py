"""The processes of one comparison: lockstep's workers and the loops without a harness, which take turns at windows."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backends.hosting.environments import BackendFile
from benchmarks.cell.materials import Materials
from benchmarks.machine.affinity import bind_busiest, release, thread_seconds
from benchmarks.machine.processors import places
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.loading import load
from benchmarks.worker.process import Launch, WorkerProcess

ROOT = Path(__file__).parents[2]

SHORTEST_WINDOW = 0.1
"""Seconds."""

LEAD_IN = 4
"""A fourth of a window goes before it, untimed: the caches are cold after the others had their turns."""

WARM_UP = 3
"""Calls, before the length of a window is decided and after."""

ENOUGH_TIMED = 20.0
"""Seconds of windows of two that are compared, after which they take no further turn in a round.

A mode whose window takes seconds averages over as much noise in a few of them as others do in all their turns.
"""

BUDGET = 600.0
"""Seconds that a worker of lockstep may take for all its answers."""


class LoopFailed(Exception):
    """A process of a loop ended before it answered, or did other work; the message says which and where."""


@dataclass(frozen=True)
class Setting:
    """What the contestants of one framework and model share; calls of a tutorial's loop are shorter."""

    model: str
    materials: Materials
    python: Path
    threads: int
    steps: int
    """Steps of a call."""
    folder: Path
    device: str = "cpu"
    place: int = 0
    """Of ``places``, where the process starts and compiles; it is timed in the first one."""

    @property
    def processors(self) -> list[int]:
        """Those that the process may use until it is timed."""
        there = places(self.threads)
        return there[self.place % len(there)]


class Contestant(Protocol):
    """A process that trains when it is asked, and sleeps while it is stopped."""

    name: str
    pid: int
    steps: int
    """Of a call."""

    def prepare(self) -> float:
        """Wait until it can train, and train one call; return its last loss.

        The constructor has only started it, so that all can start together.
        """

    def train(self, calls: int) -> float:
        """Train so many calls; return the seconds that this took."""

    def window(self, lead_in: int, calls: int) -> float:
        """Train ``lead_in`` calls, and then those of a window; return the seconds that these took."""

    def pause(self) -> None:
        """Stop the process and its children."""

    def resume(self) -> None:
        """Let them go on."""

    def close(self) -> None:
        """End them."""


class Worker:
    """lockstep's own worker, asked as in a bench, by the parent's clock."""

    def __init__(self, setting: Setting, backend: BackendFile, mode: str) -> None:
        """Start the process."""
        self.name = f"lockstep {mode}"
        self.steps = setting.steps
        self.loss = math.nan
        self.first = math.nan
        """Seconds of the first call, which compiles."""
        self._setting, self._backend, self._mode = setting, backend, mode
        self._start = 0
        folder = setting.folder / f"lockstep-{mode}"
        folder.mkdir(parents=True)
        environment, processors = worker_environment(setting.threads), setting.processors
        log = setting.folder / f"lockstep-{mode}.log"
        self._process = WorkerProcess(Launch(setting.python, folder, log, environment, processors, BUDGET))
        self.pid = self._process.pid

    def prepare(self) -> float:
        """Import, load, put the data on the device, and train one call; return its last loss."""
        self._process.hello()
        return self.begin(self._setting.materials)

    def begin(self, materials: Materials) -> float:
        """Load an experiment in a new instance of the backend, and train one call; return its last loss."""
        self._process.ask("import", file=str(self._backend.path))
        data = materials.data
        ask = partial(self._process.ask, "load")
        load(ask, [self._setting.device], materials.job(self._mode), materials.parameters)
        files = {"features": str(data.features("train")), "labels": str(data.labels("train"))}
        self._process.ask("put", name="train", chunk=data.sizes["train"], **files)
        order = {"batches": materials.batches, "last_batches": materials.last_batches}
        if materials.experiment.schedule:
            order |= {"rates": materials.rates, "last_rates": materials.last_rates}
        self._process.ask("order", **{name: str(path) for name, path in order.items()})
        self._start = 0
        self.first = self.train(1)
        return self.loss

    def train(self, calls: int) -> float:
        """Train so many calls; return the seconds that this took."""
        return self._asked(calls)

    def window(self, lead_in: int, calls: int) -> float:
        """Train ``lead_in`` calls, and then those of a window; return the seconds that these took."""
        return self._asked(lead_in, calls)

    def _asked(self, *windows: int) -> float:
        """Train windows of so many calls; return the seconds of the last one, from message to message."""
        start = self._start
        self._start += sum(windows) * self.steps
        *_, window, done = self._process.answers("train", start=start, steps=self.steps, windows=windows)
        self.loss = float(done.arrays[0][-1])
        return window.seconds

    def pause(self) -> None:
        """Stop the process and its children."""
        self._process.pause()

    def resume(self) -> None:
        """Let them go on."""
        self._process.resume()

    def close(self) -> None:
        """End them."""
        self._process.close()


class Loop:
    """A script of this folder, which takes its own time."""

    def __init__(self, setting: Setting, script: str, mode: str) -> None:
        """Start it."""
        self.name = f"{script} {mode}"
        self.steps = setting.steps
        self.loss = math.nan
        self._log = setting.folder / f"{script}-{mode}.log"
        folder = setting.folder / f"{script}-{mode}"
        folder.mkdir(parents=True)
        ours, theirs = os.pipe()
        materials = setting.materials
        data, start = materials.data, (materials.parameters, materials.batches, materials.rates)
        files = data.features("train"), data.labels("train"), *start
        module, where = f"tests.handwritten.{script}", ["--device", setting.device]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [setting.python, "-m", module, mode, setting.model, str(setting.steps), *files, str(theirs), *where],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,  # MindSpore leaves files in it
                env={**worker_environment(setting.threads), "PYTHONPATH": str(ROOT)},
                pass_fds=[theirs],
                start_new_session=True,
            )
        os.close(theirs)
        self.pid = self._process.pid
        self._answers = os.fdopen(ours)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, setting.processors)
        self._expected = setting.materials.parameter_count

    def prepare(self) -> float:
        """Wait until it has trained one call; return its last loss.

        Raises LoopFailed if it ends before that, or if its model is not of the experiment's size.
        """
        parameters, loss = self._answer()
        if int(parameters) != self._expected:
            self.close()
            raise LoopFailed(f"{self.name}: {parameters} parameters, not {self._expected}")
        return float(loss)

    def train(self, calls: int) -> float:
        """Train so many calls; return the seconds that it took by its own clock."""
        return self._asked(calls)

    def window(self, lead_in: int, calls: int) -> float:
        """Train ``lead_in`` calls, and then those of a window; return the seconds that these took."""
        return self._asked(lead_in, calls)

    def _asked(self, *windows: int) -> float:
        """Ask for all windows at once: like lockstep's worker, it does not wait between them."""
        assert self._process.stdin  # it is a pipe
        self._process.stdin.write("".join(f"{calls}\n" for calls in windows).encode())
        self._process.stdin.flush()
        for _ in windows:
            seconds, self.loss = map(float, self._answer())
        return seconds

    def _answer(self) -> list[str]:
        line = self._answers.readline().split()
        if not line:
            self.close()
            last = (self._log.read_text(errors="replace").strip().splitlines() or [""])[-1]
            raise LoopFailed(f"{self.name}: it ended before it answered; the last line of its log: {last}")
        return line

    def pause(self) -> None:
        """Stop the process and its children."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End them, and what they started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._answers.close()


def rates(
    contestants: Sequence[Contestant], turns: int, processors: Sequence[int], random: np.random.Generator
) -> NDArray[np.float64]:
    """Let each contestant have one window per turn, in a fresh random order: steps per second ``[turns, contestants]``.

    NaN stands for the turns that slow ones do not take, because their windows were long enough before.
    All must be paused; exactly one runs at a time, with its threads bound to ``processors``, if there are any, as in a
    bench. The first two of ``contestants``, the next two and so on stay neighbours in every turn: they are compared,
    and a machine that is shared may be half as fast a moment later.
    """
    calls = _longest_of_neighbours([_calls_of_a_window(contestant, processors) for contestant in contestants])
    result = np.full((turns, len(contestants)), np.nan)
    timed = np.zeros(math.ceil(len(contestants) / 2))
    for turn in range(turns):
        enough = timed >= ENOUGH_TIMED
        for index in _neighbours_together(len(contestants), random):
            if enough[index // 2]:
                continue
            contestant = contestants[index]
            contestant.resume()
            seconds = contestant.window(math.ceil(calls[index] / LEAD_IN), calls[index])
            result[turn, index] = calls[index] * contestant.steps / seconds
            timed[index // 2] += seconds
            contestant.pause()
    return result


def _longest_of_neighbours(calls: list[int]) -> list[int]:
    """Give both of those that are compared the longer of their windows: what a window's ends cost weighs the same."""
    return [max(calls[first : first + 2]) for first in range(0, len(calls), 2) for _ in calls[first : first + 2]]


def _neighbours_together(number: int, random: np.random.Generator) -> list[int]:
    """0 and 1, 2 and 3 and so on, in a random order of these pairs, and within each of them."""
    pairs = [list(range(first, min(first + 2, number))) for first in range(0, number, 2)]
    return [index for pair in random.permutation(len(pairs)) for index in random.permutation(pairs[pair]).tolist()]


def _calls_of_a_window(contestant: Contestant, processors: Sequence[int]) -> int:
    contestant.resume()
    if processors:
        release(contestant.pid, processors)
    fastest = min(contestant.train(1) for _ in range(WARM_UP))
    calls = math.ceil(SHORTEST_WINDOW / fastest)
    before = thread_seconds(contestant.pid)
    contestant.train(calls)
    bind_busiest(contestant.pid, before, processors)
    contestant.train(calls)
    contestant.pause()
    return calls
