"""What a run asks its worker: requests in their phases, and windows of training with the losses that they bring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import Parameters
from benchmarks.phases import PhaseClock
from benchmarks.worker_process import Answer, WorkerError, WorkerProcess
from results.record import Phase, Run, Window, WindowKind


class Conversation:
    """A worker, the clock of its phases, and the record that its windows are written to."""

    def __init__(self, worker: WorkerProcess, record: Run, batch_size: int, session_start: float) -> None:
        """Begin with a worker that has just been started; ``session_start`` is a reading of ``perf_counter``."""
        self.worker = worker
        self.clock = PhaseClock(worker.started)
        self._record = record
        self._batch_size = batch_size
        self._session_start = session_start

    def hello(self) -> None:
        """Wait until the worker's interpreter is up."""
        self._record.phase = "start"
        with self.clock.within("start"):
            self.worker.hello()

    def ask(self, phase: Phase, what: str, **arguments: Any) -> Answer:
        """Ask the worker something that belongs to a phase; raises WorkerError as ``WorkerProcess.ask`` does."""
        self._record.phase = phase
        with self.clock.within(phase):
            return self.worker.ask(what, **arguments)

    def train(
        self, phase: Phase, kind: WindowKind, turn: int, start: int, steps: int, calls: int = 1
    ) -> tuple[NDArray[np.float32], float]:
        """Train a window of full batches from row ``start`` of their order; return its losses and its seconds."""
        answer = self.ask(phase, "train", start=start, steps=steps, calls=calls)
        return self._window(answer, kind, turn, steps * calls, self._batch_size)

    def train_timed(
        self, turn: int, start: int, steps: int, lead_in: int, calls: int
    ) -> tuple[NDArray[np.float32], list[float]]:
        """Train ``lead_in`` calls that do not count, if any, and then a timed window, without a pause between them.

        Returns the losses of both and the seconds of each, those of the timed window last.
        """
        job = {"start": start, "steps": steps}
        led_in = ("train", {**job, "calls": lead_in}) if lead_in else ("ready", {})
        answers = self.worker.ask_in_a_row(led_in, ("train", {**job, "calls": calls}))
        self._record.phase = "warm_up"
        with self.clock.within("warm_up"):
            first = next(answers)
        self._record.phase = "timed"
        with self.clock.within("timed"):
            second = next(answers)
        windows = [self._window(first, "lead-in", turn, steps * lead_in, self._batch_size)] if lead_in else []
        windows.append(self._window(second, "timed", turn, steps * calls, self._batch_size))
        losses, seconds = zip(*windows, strict=True)
        return np.concatenate(losses), list(seconds)

    def train_last(self, epoch: int, samples: int) -> tuple[NDArray[np.float32], float]:
        """Train the short last batch of an epoch (counted from 0), as a window of its own."""
        answer = self.ask("train", "train_last", epoch=epoch)
        return self._window(answer, "training", epoch + 1, 1, samples)

    def parameters(self, phase: Phase = "ladder") -> Parameters:
        """The worker's present parameters."""
        answer = self.ask(phase, "parameters")
        return dict(zip(answer.values["names"], answer.arrays, strict=True))

    def resume(self) -> None:
        """Let the worker run."""
        self.worker.resume()
        self.clock.switch("harness")

    def pause(self) -> None:
        """Stop the worker until it is resumed."""
        self.worker.pause()
        self.clock.switch("waiting")

    def _window(
        self, answer: Answer, kind: WindowKind, turn: int, steps: int, batch_size: int
    ) -> tuple[NDArray[np.float32], float]:
        (losses,) = answer.arrays
        if losses.shape != (steps,):
            raise WorkerError("failed", f"synchronize returned losses of shape {losses.shape} for {steps} steps")
        started = answer.began - self._session_start
        samples = steps * batch_size
        self._record.window_rows.append(Window(kind, turn, started, steps, samples, answer.seconds, kept=False))
        return losses, answer.seconds
