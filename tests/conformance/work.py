"""The processes of one mode: who does what when, so that rungs can be judged in their order while others still work.

The examples go through their stages together: all of them load before the first one trains. Each core has some of
them, one at a time; what has all cores goes alone.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from benchmarks.worker.process import WorkerError
from tests.conformance.cases import STEPS, Files
from tests.conformance.findings import Odd
from tests.conformance.measuring import Threads, Timing
from tests.conformance.probes import count_threads, outputs_of, probe_gpu, time_windows
from tests.conformance.recording import Recording, Stages, Target, advance, record

STAGES = 4
"""Of ``record``, the end included."""

AT_LEAST, STILL_TO_COME = 15.0, 0.7
"""Seconds, and times the seconds that loading and the first steps took: within a factor of two of what five modes of
the three frameworks took on two cores, which were busy with other things as well."""

Result = TypeVar("Result")
Expect = Callable[[float], None]
"""Is told how many seconds a mode has still to go."""


@dataclass(frozen=True)
class Exercises:
    """What is done besides taking the examples to their ends; each may be left out."""

    ties: Files | None = None
    odd: Mapping[str, tuple[Files, Odd]] | None = None
    threads: Files | None = None
    speed: Files | None = None


class Work:
    """Takes a mode through all that rungs look at; ``run`` does it, while others wait for what it brings."""

    def __init__(
        self,
        copied: Target,
        together: Target,
        cores: Sequence[int],
        chosen: dict[str, Files],
        exercises: Exercises,
        new_folder: Callable[[], Path],
    ) -> None:
        """``copied`` is for what has a core of its own, ``together`` for what is trained twice; nothing is begun."""
        self._copied, self._together, self._cores = copied, together, cores
        self._chosen, self._exercises, self._new_folder = chosen, exercises, new_folder
        self._cut, self._again = next(iter(chosen.values())), next(reversed(chosen.values()))
        self.recordings = {name: Recording(files.example) for name, files in chosen.items()}
        self.repeated, self.loader = Recording(self._again.example), Recording(self._again.example)
        self.whole, self.single_steps = Recording(self._cut.example), Recording(self._cut.example)
        self.ties = Recording(exercises.ties.example) if exercises.ties else None
        self.gpu: Future[tuple[str, str]] = Future()
        self.odd: Future[Mapping[str, Odd]] = Future()
        self.threads: Future[Threads] = Future()
        self._finished = Event()
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for core in cores:
            self._free.put(core)

    def run(self, pool: ThreadPoolExecutor, expect: Expect) -> None:
        """Do everything but the timing; whoever waits for something that does not come is let go at the end.

        Where one example hangs, the others would as well: nothing more is begun.
        """
        try:
            self._examples(pool, expect)
            if not self._late():
                self._once_more()
                self._others(pool)
        finally:
            ends = [self.repeated, self.loader, self.whole, self.single_steps, *([self.ties] if self.ties else [])]
            for recording in (*self.recordings.values(), *ends):
                recording.stopped = recording.stopped or self._late()
                recording.end()
            for future in (self.gpu, self.odd, self.threads):
                _give_up(future)
            self._finished.set()

    def time(self) -> Timing:
        """Time windows, once everything else is done; raises WorkerError."""
        self._finished.wait()
        if late := self._late():
            raise WorkerError("timeout", late)
        assert self._exercises.speed
        return time_windows(self._copied, self._exercises.speed, self._new_folder())

    def on_a_core(self, function: Callable[[Target], Result]) -> Result:
        """Call the function as soon as a core is free, with the target on that core."""
        core = self._free.get()
        try:
            return function(replace(self._copied, processors=(core,)))
        finally:
            self._free.put(core)

    def _examples(self, pool: ThreadPoolExecutor, expect: Expect) -> None:
        """Take every example through its stages."""
        lanes: list[list[tuple[Recording, Stages]]] = [[] for _ in self._cores]
        others = [name for name, files in self._chosen.items() if files is not self._again]
        for number, name in enumerate(others):
            place = number % len(self._cores)
            target = replace(self._copied, processors=(self._cores[place],))
            lanes[place].append((self.recordings[name], self._stages(self.recordings[name], target, name)))
        last = self.recordings[self._again.example.name]
        stages = self._stages(last, self._together, last.example.name)
        for stage in range(STAGES):
            for future in [pool.submit(self._advance, lane) for lane in lanes]:
                future.result()
            self._advance([(last, stages)])
            if stage == 1 and not self._late():
                expect(self._left())

    def _advance(self, lane: Sequence[tuple[Recording, Stages]]) -> None:
        """Take the next stage of some examples, or end them if one hangs."""
        for recording, stages in lane:
            if late := self._late():
                recording.stopped = recording.stopped or late
                stages.close()
            else:
                advance(recording, stages)

    def _late(self) -> str:
        """What to say of the others if an example did not end in time; empty if none did so."""
        late = [name for name, recording in self.recordings.items() if recording.status == "timeout"]
        return f"'{late[0]}' did not end in time (--timeout)" if late else ""

    def _stages(self, recording: Recording, target: Target, name: str) -> Stages:
        return record(recording, target, self._chosen[name], self._new_folder())

    def _left(self) -> float:
        """Seconds that the rest will take, judged by those until every example has trained its first steps."""
        return AT_LEAST + STILL_TO_COME * sum(recording.seconds for recording in self.recordings.values())

    def _once_more(self) -> None:
        """Train one of them a second time; a compiler that keeps its results has them by now."""
        stages = record(self.repeated, self._together, self._again, self._new_folder())
        for stage, process in enumerate(stages, start=2):
            if stage == STAGES and (files := self._exercises.threads):
                _settle(self.threads, count_threads, process, self._together, files)

    def _others(self, pool: ThreadPoolExecutor) -> None:
        """Do the rest side by side."""

        def recorded(recording: Recording, files: Files, **how: object) -> Callable[[Target], None]:
            return lambda target: _exhaust(record(recording, target, files, self._new_folder(), **how))  # type: ignore[arg-type]

        whole = pool.submit(self.on_a_core, recorded(self.whole, self._cut, cuts=(STEPS,)))
        tasks = [pool.submit(self.on_a_core, recorded(self.loader, self._again, input="loader"))]
        tasks.append(pool.submit(self.on_a_core, self._ask_for_a_gpu))
        wait([whole])  # so that the next one finds what a compiler has kept
        tasks.append(pool.submit(self.on_a_core, recorded(self.single_steps, self._cut, cuts=(1,) * STEPS)))
        tasks.append(pool.submit(self.on_a_core, self._train_on_ties))
        tasks.append(pool.submit(self.on_a_core, self._feed_odd_values))
        for future in (whole, *tasks):
            future.result()

    def _ask_for_a_gpu(self, target: Target) -> None:
        _settle(self.gpu, probe_gpu, target, self._cut, self._new_folder())

    def _train_on_ties(self, target: Target) -> None:
        if self._exercises.ties and self.ties:
            stages = record(self.ties, target, self._exercises.ties, self._new_folder())
            for _ in range(2):
                advance(self.ties, stages)
            stages.close()

    def _feed_odd_values(self, target: Target) -> None:
        if odd := self._exercises.odd:
            outputs = outputs_of(target, {layer: files for layer, (files, _) in odd.items()}, self._new_folder())
            self.odd.set_result({layer: replace(own, found=outputs[layer]) for layer, (_, own) in odd.items()})


def _exhaust(stages: Stages) -> None:
    for _ in stages:
        pass


def _settle(future: Future[Result], function: Callable[..., Result], *args: object) -> None:
    """Give a future the result of a function, or its WorkerError."""
    try:
        future.set_result(function(*args))
    except WorkerError as error:
        future.set_exception(error)


def _give_up(future: Future[Any]) -> None:
    if not future.done():
        future.set_exception(WorkerError("failed", "the process that shows it did not come so far"))
