"""The timed windows of a run: how long they are, how they are taken, and whether what is timed is the work.

They go on past the last epoch, and their losses are not part of the curve. Every call of ``train`` asks for as many
steps as a call in the training does: nothing is compiled here that was not compiled there, and no backend meets a
request here whose like the ladder has not judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from benchmarks.cell.divergence import need_finite
from benchmarks.machine.affinity import allowed, bind_busiest, release, thread_seconds
from benchmarks.worker.conversation import Conversation
from benchmarks.worker.process import WorkerError
from results.record import WindowKind

LONGEST_CALL = 50
"""Steps of a call of ``train``: progress is seen at least so often."""

AIMED_WINDOW = 0.07
"""Seconds; both ends are a message of the worker, whose way varies by some 0.1 ms, a seven-hundredth of it."""

WHEN = "in a timed window after the last epoch"

SLOW = 2.0
"""Calls that take more than so many times what a window needs are made shorter."""

CORE_FLOPS = 5e10
"""Floating point operations per second of one processor core: a guess; within a few times is enough."""

LEAD_IN = 0.25
"""Share of a window that is trained before it in the same turn: the workers before have emptied the caches."""

LEAST_DOUBLED = 1.4
"""How many times as long twice the steps take at least."""

LONGEST_TO_DOUBLE = 1.0
"""Seconds; a longer window is one call of ``train`` anyway, as in the training."""

SLOWED = 10
"""Times as long as before, and at least a second: then the threads do worse in places of their own."""

TRIES = 5
"""A check that a noisy machine can fail is tried so many times."""

IDLE_CHECK = 0.05
"""Seconds after a window in which the worker has nothing to do."""

IDLE = 0.3
"""Processors that are busy at most while it has nothing to do: processor time is counted in ticks of 0.01 s, and one of
them, a fifth of a processor, may belong to the window. What works on has two at least, even if it is kept from it for
half of the time."""


class CallLength:
    """How many steps a call of ``train`` asks for: fewer where that many take longer than a window needs to be."""

    def __init__(self, full_steps: int, steps: int | None = None, step_flops: float = 0.0) -> None:
        """Begin with as many as an epoch has, at most ``LONGEST_CALL``, or with what another run has learned.

        ``step_flops`` are the floating point operations of a step for each of the threads: where they tell that a call
        of so many steps takes too long, nothing has to be learned, and nothing compiled anew.
        """
        self._full_steps = full_steps
        self.steps = steps or min(LONGEST_CALL, full_steps)
        self._seen: set[int] = set()
        if not steps:
            self._shorten(self.steps * step_flops / CORE_FLOPS)

    def learn(self, steps: int, seconds: float) -> None:
        """Take note of a call; the first one of a length is not judged, as it may have been compiled.

        A shorter length leaves at most one step over at the end of an epoch: that is compiled already.
        """
        if steps in self._seen and steps == self.steps:
            self._shorten(seconds)
        self._seen.add(steps)

    def _shorten(self, seconds: float) -> None:
        """Ask for fewer steps if a call takes so many seconds."""
        if seconds > SLOW * AIMED_WINDOW:
            most = max(1, int(self.steps * AIMED_WINDOW / seconds))
            self.steps = next(length for length in range(most, 0, -1) if self._full_steps % length <= 1)


class TimedWindows:
    """The windows of one worker."""

    def __init__(self, conversation: Conversation, length: CallLength, bind: bool = True) -> None:
        """Take windows of full batches, in calls of a length that the training has learned.

        Unless ``bind``, threads run where the system puts them among the processors of the worker.
        """
        self._conversation = conversation
        self._bind = bind
        self._length = length
        self.calls = 1
        self.seconds: list[float] = []
        """What each window took."""
        self._cpu_seconds = self._wall_seconds = 0.0
        self.bound_threads = 0
        """Threads that had a processor of their own."""
        self.allowed: set[int] = set()
        """Processors that any thread was free to run on, before its threads were bound and after the windows."""

    @property
    def call_steps(self) -> int:
        """Steps of a call of ``train``, as in the training."""
        return self._length.steps

    @property
    def cpu_per_wall(self) -> float:
        """Processor seconds per second of the turns that were taken: windows with their lead-ins."""
        return self._cpu_seconds / self._wall_seconds

    def warm_up(self) -> None:
        """Find out how many calls of ``train`` a window needs to be long enough, and look whether it is honest."""
        places = self._conversation.worker.places
        before = [thread_seconds(pid) for pid, _ in places]
        self._sized()  # after a single epoch, which begins with a window of one step, this length is new
        seconds = self._long_enough()
        self.allowed = self._allowed()
        if self._bind:
            self.bound_threads = sum(
                bind_busiest(pid, own, processors) for (pid, processors), own in zip(places, before, strict=True)
            )
        # Again: what looked long enough may have been a pause of the machine, and the windows would be far too short.
        with self._unbound_after(max(SLOWED * seconds, 1.0)):
            seconds = self._long_enough()
        self._check_doubling(seconds)
        self._check_idle()

    def take(self, turn: int) -> None:
        """Train one window that may count, after a lead-in that does not."""
        lead_in = math.ceil(self.calls * LEAD_IN) if self.calls > 1 else 0
        start = turn * self.calls * self.call_steps
        # Not the windows' own seconds: a first message that is seen late makes them shorter than the work was.
        before, began = self._conversation.worker.cpu_seconds(), time.perf_counter()
        losses, seconds = self._conversation.train_timed(turn, start, self.call_steps, lead_in, self.calls)
        self._cpu_seconds += self._conversation.worker.cpu_seconds() - before
        self._wall_seconds += time.perf_counter() - began
        need_finite(losses, "the training loss", WHEN)
        self.seconds.append(seconds[-1])

    def end(self) -> None:
        """Let the threads run where they like again."""
        self.allowed |= self._allowed()
        self._unbind()

    def _unbind(self) -> None:
        for pid, processors in self._conversation.worker.places:
            release(pid, processors)

    @contextmanager
    def _unbound_after(self, seconds: float) -> Iterator[None]:
        """Let the threads run where they like again, for good, if the ``with`` block takes so long.

        Seen with PyTorch on 15 of 16 processors of a virtual machine: a window of 0.08 s took more than 43 s.
        """

        def unbind() -> None:
            self.bound_threads = 0
            self._unbind()

        timer = Timer(seconds, unbind)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _allowed(self) -> set[int]:
        return {processor for pid, _ in self._conversation.worker.places for processor in allowed(pid)}

    def _long_enough(self) -> float:
        """Ask for more calls until a window is long enough, and return how many seconds it took.

        Fewer, if it is far too long: a message that was seen late may have made a call look like next to nothing.
        """
        for _ in range(TRIES):
            seconds = self._sized()
            if seconds >= AIMED_WINDOW and (self.calls == 1 or seconds <= 2 * SLOW * AIMED_WINDOW):
                break
            self.calls = math.ceil(self.calls * AIMED_WINDOW / seconds)
        return seconds

    def _sized(self) -> float:
        return self._train("warm-up", self.calls)

    def _train(self, kind: WindowKind, calls: int) -> float:
        losses, seconds = self._conversation.train("warm_up", kind, 0, 0, self.call_steps, calls)
        need_finite(losses, "the training loss", WHEN)
        return seconds

    def _check_doubling(self, seconds: float) -> None:
        """Twice the steps take about twice the time, or what is timed is not the work."""
        if seconds > LONGEST_TO_DOUBLE:
            return
        for _ in range(TRIES):
            # Neighbours in time: a machine may be half as fast a moment later.
            ratio = self._train("doubled", 2 * self.calls) / seconds
            # More than twice as long happens whenever another process gets in the way, and nobody gains by it.
            if ratio >= LEAST_DOUBLED:
                return
            seconds = self._long_enough()
        raise WorkerError("failed", f"the row contradicts itself: twice the steps take only {ratio:.1f} times as long")

    def _check_idle(self) -> None:
        """After a window the worker is idle, or it works outside of the time that is taken."""
        for _ in range(TRIES):
            self._sized()
            before = self._conversation.worker.cpu_seconds()
            time.sleep(IDLE_CHECK)
            busy = (self._conversation.worker.cpu_seconds() - before) / IDLE_CHECK
            if busy < IDLE:
                return
        raise WorkerError(
            "failed", f"the row contradicts itself: after synchronize, {busy:.1f} processors are still busy"
        )
