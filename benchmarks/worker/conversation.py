"""What a run asks its worker: requests in their phases, and windows of training with the losses that they bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import Parameters
from benchmarks.worker.phases import PhaseClock
from benchmarks.worker.process import Answer, WorkerError, WorkerProcess
from results.proof.audit import MOMENTS, moment
from results.record import Phase, Run, Window, WindowKind


class Conversation:
    """A worker, the clock of its phases, and the record that its windows are written to."""

    def __init__(
        self,
        worker: WorkerProcess,
        record: Run,
        batch_size: int,
        session_start: float,
        before: Mapping[Phase, float] | None = None,
    ) -> None:
        """Begin with a worker that has just been started; ``session_start`` is a reading of ``perf_counter``.

        ``before`` are the phases of the process that it is a copy of.
        """
        self.worker = worker
        self.clock = PhaseClock(worker.started, before)
        self._record = record
        self._batch_size = batch_size
        self._session_start = session_start

    @property
    def steps(self) -> int:
        """Steps that the worker has taken so far."""
        return sum(window.steps for window in self._record.window_rows)

    def hello(self) -> None:
        """Wait until the worker's interpreter is up."""
        self._record.phase = "start"
        with self.clock.within("start"):
            self.worker.hello()

    def ask(self, phase: Phase, what: str, **arguments: Any) -> Answer:
        """Ask the worker something that belongs to a phase; raises WorkerError as ``WorkerProcess.ask`` does."""
        return self._next(phase, self.worker.answers(what, **arguments))

    def train(
        self, phase: Phase, kind: WindowKind, turn: int, start: int, steps: int, calls: int = 1
    ) -> tuple[NDArray[np.float32], float]:
        """Train a window of full batches from row ``start`` of their order; return its losses and its seconds."""
        answers = self.worker.answers("train", start=start, steps=steps, windows=[calls])
        self._next(phase, answers)
        seconds = self._window(self._next(phase, answers), kind, turn, steps * calls, self._batch_size)
        return self._losses(phase, answers, steps * calls), seconds

    def train_timed(
        self, turn: int, start: int, steps: int, lead_in: int, calls: int
    ) -> tuple[NDArray[np.float32], list[float]]:
        """Train ``lead_in`` calls that do not count, if any, and then a timed window, without a pause between them.

        Returns the losses of both and the seconds of each, those of the timed window last.
        """
        windows: list[tuple[Phase, WindowKind, int]] = [("warm_up", "lead-in", lead_in)] if lead_in else []
        windows.append(("timed", "timed", calls))
        numbers = [number for _, _, number in windows]
        answers = self.worker.answers("train", start=start, steps=steps, windows=numbers)
        self._next("warm_up", answers)
        seconds = [
            self._window(self._next(phase, answers), kind, turn, steps * number, self._batch_size)
            for phase, kind, number in windows
        ]
        return self._losses("timed", answers, steps * sum(numbers)), seconds

    def train_last(self, epoch: int, samples: int) -> tuple[NDArray[np.float32], float]:
        """Train the short last batch of an epoch (counted from 0), as a window of its own."""
        answers = self.worker.answers("train_last", epoch=epoch)
        self._next("train", answers)
        seconds = self._window(self._next("train", answers), "training", epoch + 1, 1, samples)
        return self._losses("train", answers, 1), seconds

    def parameters(self, phase: Phase = "ladder") -> Parameters:
        """The worker's present parameters."""
        answer = self.ask(phase, "parameters")
        return dict(zip(answer.values["names"], answer.arrays, strict=True))

    def moments(self) -> Parameters:
        """The worker's present moments of Adam, by the names of ``audit.moment``."""
        answer = self.ask("ladder", "moments")
        names = [moment(name, which) for which in MOMENTS for name in answer.values["names"]]
        return dict(zip(names, answer.arrays, strict=True))

    def resume(self) -> None:
        """Let the worker run."""
        self.worker.resume()
        self.clock.switch("bookkeeping")

    def pause(self) -> None:
        """Stop the worker until it is resumed."""
        self.worker.pause()
        self.clock.switch("waiting")

    def _next(self, phase: Phase, answers: Iterator[Answer]) -> Answer:
        self._record.phase = phase
        with self.clock.within(phase):
            return next(answers)

    def _window(self, answer: Answer, kind: WindowKind, turn: int, steps: int, batch_size: int) -> float:
        started = answer.began - self._session_start
        samples = steps * batch_size
        self._record.window_rows.append(Window(kind, turn, started, steps, samples, answer.seconds, kept=False))
        return answer.seconds

    def _losses(self, phase: Phase, answers: Iterator[Answer], steps: int) -> NDArray[np.float32]:
        (losses,) = self._next(phase, answers).arrays
        if losses.shape != (steps,):
            raise WorkerError("failed", f"synchronize returned losses of shape {losses.shape} for {steps} steps")
        return losses
