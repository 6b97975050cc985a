"""One run of one cell: the requests to its worker in their order, and the record that grows with the answers."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

import numpy as np
from numpy.typing import NDArray

from backends.contract import Parameters, model_to_json
from benchmarks.data.cache import SPLITS, Split
from benchmarks.materials import hash_arrays
from benchmarks.plan import Cell
from benchmarks.scoring import Score, score
from benchmarks.worker_process import Answer, WorkerError, WorkerProcess
from results.audit import Audit, continue_from
from results.checks import SLOWEST_AUDIT, contradictions
from results.judge import Judgement
from results.ladder import Evidence, Rung, after_the_last_epoch, walk
from results.record import Epoch, Run, Status, Window

LONGEST_TRAINING_WINDOW = 50
"""Steps; progress is seen at least so often, and a slow mode's timed window need not be longer."""

AIMED_TIMED_WINDOW = 0.07
"""Seconds; the round trip to the worker takes about 0.1 ms, a seven-hundredth of it."""

LEAST_DOUBLED = 1.4
"""How many times as long twice the steps take at least."""

LONGEST_TO_DOUBLE = 1.0
"""Seconds; a longer window is one call of ``train`` anyway, as in the training."""

TRIES = 5
"""A check that a noisy machine can fail is tried so many times."""

IDLE_CHECK = 0.05
"""Seconds after a window in which the worker has nothing to do; processor time is counted in ticks of 0.01 s."""

AUDIT_BUDGET = 0.1
"""Seconds that the reference may go on training after a worker's last epoch."""

QUEUED = 3
"""Calls of ``train``, of one step each, that the audit makes before it synchronizes."""

PREDICTION_CHUNK = 1000
"""Samples that are predicted at once."""

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Launch:
    """How a worker process is started: what is the same for all workers of a session, and its own folder and log."""

    python: Path
    folder: Path
    log: Path
    environment: dict[str, str]
    processors: list[int]
    budget: float
    """Seconds that all requests of the run together may take."""


def _ends_on_failure(
    method: Callable[Concatenate[CellRun, Arguments], None],
) -> Callable[Concatenate[CellRun, Arguments], None]:
    """If the worker fails, end this run with the reason, and let the other runs go on."""

    @functools.wraps(method)
    def guarded(run: CellRun, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if not run.alive:
            return
        try:
            method(run, *args, **kwargs)
        except WorkerError as error:
            run.end(error.status, str(error))

    return guarded


class CellRun:
    """A worker from its start to its end; ``record`` always holds what is known so far."""

    def __init__(
        self,
        cell: Cell,
        record: Run,
        judgement: Judgement,
        session_start: float,
        progress: Callable[[CellRun], None],
    ) -> None:
        """Prepare a run without starting anything. ``progress`` is called after every training window."""
        self.cell = cell
        self.record = record
        self._judgement = judgement
        self._evidence: dict[str, Any] = {}
        self.speed = 0.0
        self.seen = 0
        self._session_start = session_start
        self._progress = progress
        self._worker: WorkerProcess | None = None
        self._processors: list[int] = []
        self._losses: list[NDArray[np.float32]] = []
        self._window_calls = 1
        self._timed_cpu_seconds = 0.0
        self._predict_rates: list[float] = []

    @property
    def alive(self) -> bool:
        """Whether there is a worker that can be asked."""
        return self._worker is not None

    @property
    def last_loss(self) -> float:
        """Training loss of the latest step."""
        return float(self._losses[-1][-1])

    @property
    def epoch(self) -> int:
        """The epoch that is being trained, counted from 1."""
        return len(self.record.epoch_rows)

    @property
    def _steps_done(self) -> int:
        return sum(map(len, self._losses))

    # --- the way of the run, in order -------------------------------------------------------------------------

    def start(self, launch: Launch) -> None:
        """Start the worker process."""
        launch.folder.mkdir(parents=True)
        self.record.phase = "start"
        self._processors = launch.processors
        self.record.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._worker = WorkerProcess(
            launch.python, launch.folder, launch.log, launch.environment, launch.processors, launch.budget
        )

    @_ends_on_failure
    def import_framework(self) -> None:
        """Wait for the interpreter, then have it import the backend's file."""
        assert self._worker  # noqa: S101 - alive
        self.record.start_seconds = self._worker.hello()
        self._ask("import", "import", file=str(self.cell.backend.path))

    @_ends_on_failure
    def prepare(self) -> None:
        """Load model and data, read back what is in force, and evaluate before the first step."""
        self._load()
        self._describe()
        self._evidence["initial"] = self._parameters()
        self.record.weights_hash = hash_arrays(self._evidence["initial"])
        materials = self.cell.materials
        for split in SPLITS:
            size = materials.data.sizes[split]
            files = {"features": str(materials.data.features(split)), "labels": str(materials.data.labels(split))}
            if size:
                self._ask("put", "put", name=split, chunk=size if split == "train" else PREDICTION_CHUNK, **files)
        self._ask("put", "order", batches=str(materials.batches), last_batches=str(materials.last_batches))
        judged = {"features": str(materials.judged_features), "labels": str(materials.judged_labels)}
        self._ask("ladder", "put", name="judged", chunk=PREDICTION_CHUNK, **judged)
        self._evidence["logits"] = self._judged_outputs()
        self._evaluate(Epoch(0))

    @_ends_on_failure
    def train(self) -> None:
        """Train all epochs window by window, with an evaluation after each epoch."""
        materials = self.cell.materials
        for epoch in range(1, materials.experiment.epochs + 1):
            self.seen = 0
            weighted_loss = 0.0
            # A window ends where the ladder wants to look.
            cuts = {1 - self._steps_done, self._judgement.steps - self._steps_done}
            for start, steps in _training_windows(materials.full_steps, cuts):
                answer = self._ask("train", "train", start=(epoch - 1) * materials.full_steps + start, steps=steps)
                weighted_loss += self._keep(answer, epoch, steps, materials.experiment.batch_size)
            if materials.last_batch:
                answer = self._ask("train", "train_last", epoch=epoch - 1)
                weighted_loss += self._keep(answer, epoch, 1, materials.last_batch)
            self._evaluate(Epoch(epoch, train_loss=weighted_loss / materials.data.sizes["train"]))

    @_ends_on_failure
    def warm_up(self) -> None:
        """Find out how many calls of ``train`` a timed window needs to be long enough.

        Every call asks for as many steps as a call in training does: nothing is compiled here that was not compiled
        there, and no backend meets a request here whose like the ladder has not judged.
        """
        self._timed("warm-up", 0)  # after a single epoch, which begins with a window of one step, this length is new
        while (seconds := self._timed("warm-up", 0)) < AIMED_TIMED_WINDOW:
            self._window_calls = math.ceil(self._window_calls * AIMED_TIMED_WINDOW / seconds)
        self._check_doubling(seconds)
        self._check_idle()

    @_ends_on_failure
    def timed_window(self, turn: int) -> None:
        """Train one window that counts; it goes on past the last epoch, and its losses are not part of the curve."""
        assert self._worker  # noqa: S101 - alive
        before = self._worker.cpu_seconds()
        self._timed("timed", turn)
        self._timed_cpu_seconds += self._worker.cpu_seconds() - before

    @_ends_on_failure
    def finish(self) -> None:
        """Audit, read the peak memory, sum up, walk the ladder, cross-check, and end the run."""
        audit = self._audit()
        self._describe()  # again: some settings can be read back only after the work
        self.record.peak_memory_bytes = self._ask("finish", "memory").values["peak"]
        kept = [window for window in self.record.window_rows if window.kept]
        if kept:
            self.record.train_samples_per_second = float(
                np.median([window.samples / window.seconds for window in kept])
            )
            self.record.cpu_per_wall = self._timed_cpu_seconds / sum(window.seconds for window in kept)
        # The first prediction holds the compilation.
        if len(self._predict_rates) > 1:
            self.record.predict_samples_per_second = float(np.median(self._predict_rates[1:]))
        self.record.losses = np.concatenate(self._losses)
        rungs = self._walk(audit)
        assert self._worker  # noqa: S101 - alive
        found = contradictions(self.record, time.perf_counter() - self._worker.started, self._processors)
        if not rungs[-1].holds:
            self.end("not-equivalent", str(rungs[-1]))
        elif found:
            self.record.comparable = False
            self.end("failed", f"the row contradicts itself: {'; '.join(found)}")
        else:
            self.end("ok", "")

    def end(self, status: Status, reason: str) -> None:
        """End the run and its worker, if it has one."""
        self.record.status, self.record.reason = status, reason
        if self._losses:
            self.record.losses = np.concatenate(self._losses)
        if self._worker:
            if status in ("ok", "not-equivalent"):
                self._worker.close()
            else:
                self._worker.kill()
            self.record.wall_seconds = time.perf_counter() - self._worker.started
            self.record.waiting_seconds = self._worker.paused_seconds
            self._worker = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the worker run for the length of a ``with`` block; outside of it, it is stopped."""
        if self._worker:
            self._worker.resume()
        try:
            yield
        finally:
            if self._worker:
                self._worker.pause()

    # --- the parts ----------------------------------------------------------------------------------------------

    def _ask(self, phase: str, what: str, **arguments: Any) -> Answer:
        """Ask the worker, and add the seconds to the column of the phase."""
        assert self._worker  # noqa: S101 - alive
        self.record.phase = phase
        answer = self._worker.ask(what, **arguments)
        column = f"{phase}_seconds"
        if hasattr(self.record, column):
            setattr(self.record, column, (getattr(self.record, column) or 0.0) + answer.seconds)
        return answer

    def _load(self) -> None:
        """Load on the device that was asked for; "auto" is the GPU where the backend finds one, else the CPU."""
        materials = self.cell.materials
        auto = [device for device in ("gpu", "cpu") if device in self.cell.backend.devices]
        candidates = auto if self.cell.device == "auto" else [self.cell.device]
        for device in candidates:
            self.record.device = device
            try:
                self._ask(
                    "load",
                    "load",
                    model=model_to_json(materials.model),
                    loss=materials.experiment.loss,
                    sgd=asdict(materials.sgd),
                    parameters=str(materials.parameters),
                    device=device,
                    mode=self.cell.mode,
                    input=materials.experiment.input,
                )
                return
            except WorkerError as error:
                if error.status != "unavailable" or device == candidates[-1]:
                    raise

    def _describe(self) -> None:
        """Keep the versions and settings that are in force."""
        answer = self._ask("describe", "describe").values
        settings = answer["settings"]
        self.record.settings = {**settings, "affinity": answer["affinity"]}
        self.record.threads = settings.get("threads")
        self.record.precision = settings.get("precision")
        self.record.framework = " ".join(f"{name} {version}" for name, version in settings["versions"].items())

    def _keep(self, answer: Answer, epoch: int, steps: int, batch_size: int) -> float:
        """Keep the losses and the window of one training request; return the sum of its samples' losses."""
        losses = self._losses_of(answer, steps)
        step = self._steps_done + 1
        self._losses.append(losses)
        self._window("training", epoch, answer, steps, batch_size)
        if self.record.first_step_seconds is None:
            self.record.first_step_seconds = answer.seconds
        finite = np.isfinite(losses)
        if not finite.all():
            first = int(np.argmin(finite))
            raise WorkerError("diverged", f"the training loss is {losses[first]} at step {step + first}")
        self.seen += steps * batch_size
        self.speed = steps * batch_size / answer.seconds
        if self._steps_done == 1:
            self._evidence["first_step"] = self._parameters()
        if self._steps_done == self._judgement.steps:
            self._evidence["trained_logits"] = self._judged_outputs()
        self._progress(self)
        return float(losses.sum(dtype=np.float64)) * batch_size

    def _parameters(self) -> Parameters:
        answer = self._ask("ladder", "parameters")
        return dict(zip(answer.values["names"], answer.arrays, strict=True))

    def _judged_outputs(self) -> NDArray[np.float32]:
        (outputs,) = self._ask("ladder", "predict", name="judged").arrays
        return outputs

    def _check_doubling(self, seconds: float) -> None:
        """Twice the steps take about twice the time, or what is timed is not the work."""
        if seconds > LONGEST_TO_DOUBLE:
            return
        for _ in range(TRIES):
            # Neighbours in time: a machine may be half as fast a moment later.
            ratio = self._timed("warm-up", 0, times=2) / seconds
            # More than twice as long happens whenever another process gets in the way, and nobody gains by it.
            if ratio >= LEAST_DOUBLED:
                return
            seconds = self._timed("warm-up", 0)
        raise WorkerError("failed", f"the row contradicts itself: twice the steps take only {ratio:.1f} times as long")

    def _check_idle(self) -> None:
        """After a window the worker is idle, or it works outside of the time that is taken."""
        assert self._worker  # noqa: S101 - alive
        for _ in range(TRIES):
            self._timed("warm-up", 0)
            before = self._worker.cpu_seconds()
            time.sleep(IDLE_CHECK)
            busy = (self._worker.cpu_seconds() - before) / IDLE_CHECK
            if busy < 0.5:
                return
        raise WorkerError(
            "failed", f"the row contradicts itself: after synchronize, {busy:.1f} processors are still busy"
        )

    def _audit(self) -> Audit:
        """Have the worker train once more as in a timed window; again if that was slower than when it was timed."""
        timed = [window.seconds for window in self.record.window_rows if window.kept]
        for _ in range(TRIES):
            audit = self._audit_once()
            if not timed or audit.seconds <= SLOWEST_AUDIT * float(np.median(timed)):
                break
        return audit

    def _audit_once(self) -> Audit:
        """Train one step, a few that are queued, and what a timed window trains, with the parameters in between."""
        materials = self.cell.materials
        order = np.load(materials.batches, mmap_mode="r", allow_pickle=False)
        parameters, losses, start = {0: self._parameters()}, [], 0
        for steps, calls in ((1, 1), (1, QUEUED), (self._call_steps, self._window_calls)):
            answer = self._ask("ladder", "train", start=start, steps=steps, calls=calls)
            losses.append(self._losses_of(answer, steps * calls))
            start += steps * calls
            parameters[start] = self._parameters()
        self._window("audit", 0, answer, steps * calls, materials.experiment.batch_size)
        batches = order[np.arange(start) % len(order)]
        return Audit(list(batches), np.concatenate(losses), parameters, answer.seconds)

    def _walk(self, audit: Audit) -> list[Rung]:
        """Compare what the run showed with the judgement, and keep the result in the record."""
        begin = time.perf_counter()
        rungs = walk(Evidence(losses=self.record.losses, **self._evidence), self._judgement)
        if rungs[-1].holds:
            continuation = continue_from(self.cell.materials.case(), audit, AUDIT_BUDGET)
            rungs.append(after_the_last_epoch(audit, continuation))
        self.record.comparable = rungs[-1].holds
        self.record.rung = "" if rungs[-1].holds else rungs[-1].name
        self.record.ladder = [asdict(rung) for rung in rungs]
        self.record.judged_steps = self._judgement.steps
        expected = self._judgement.losses
        self.record.reference_losses = np.stack([expected.values, expected.tolerance], axis=1)
        self.record.ladder_seconds = (self.record.ladder_seconds or 0.0) + time.perf_counter() - begin
        return rungs

    @property
    def _call_steps(self) -> int:
        """Steps of every call of ``train`` in a timed window: as many as in the training."""
        return min(LONGEST_TRAINING_WINDOW, self.cell.materials.full_steps)

    def _timed(self, kind: Literal["warm-up", "timed"], turn: int, times: int = 1) -> float:
        steps, calls = self._call_steps, times * self._window_calls
        answer = self._ask("timed", "train", start=turn * calls * steps, steps=steps, calls=calls)
        losses = self._losses_of(answer, calls * steps)
        self._window(kind, turn, answer, calls * steps, self.cell.materials.experiment.batch_size)
        if not np.isfinite(losses).all():
            raise WorkerError("diverged", "a training loss in a timed window, after the last epoch, is not finite")
        return answer.seconds

    def _losses_of(self, answer: Answer, steps: int) -> NDArray[np.float32]:
        (losses,) = answer.arrays
        if losses.shape != (steps,):
            raise WorkerError("failed", f"synchronize returned losses of shape {losses.shape} for {steps} steps")
        return losses

    def _window(
        self, kind: Literal["training", "warm-up", "timed", "audit"], turn: int, answer: Answer, steps: int, batch: int
    ) -> None:
        started = time.perf_counter() - answer.seconds - self._session_start
        self.record.window_rows.append(
            Window(kind, turn, started, steps, steps * batch, answer.seconds, kept=kind == "timed")
        )

    def _evaluate(self, row: Epoch) -> None:
        """Score the validation and the test set, and add the epoch's row."""
        training = [window for window in self.record.window_rows if window.kind == "training"]
        row.train_seconds = sum(window.seconds for window in training if window.turn == row.epoch)
        row.elapsed_seconds = sum(window.seconds for window in training)
        for split in SPLITS[1:]:
            if self.cell.materials.data.sizes[split]:
                result = self._predict(split)
                setattr(row, f"{split}_loss", result.loss)
                setattr(row, f"{split}_accuracy", result.accuracy)
        self.record.epoch_rows.append(row)
        for column in ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"):
            setattr(self.record, column, getattr(row, column))

    def _predict(self, split: Split) -> Score:
        answer = self._ask("evaluate", "predict", name=split)
        (outputs,) = answer.arrays
        labels = np.load(self.cell.materials.data.labels(split), mmap_mode="r", allow_pickle=False)
        expected = (len(labels), self.cell.materials.outputs)
        if outputs.shape != expected:
            raise WorkerError("failed", f"predict returned outputs of shape {outputs.shape}, not {expected}")
        if split == "test":
            self._predict_rates.append(len(labels) / answer.seconds)
        return score(outputs, labels, self.cell.materials.experiment.loss)


def _training_windows(full_steps: int, cuts: set[int]) -> Iterator[tuple[int, int]]:
    """Cut an epoch's full batches into windows (first step, number of steps), also before each step of ``cuts``."""
    ends = {*range(LONGEST_TRAINING_WINDOW, full_steps, LONGEST_TRAINING_WINDOW), full_steps}
    start = 0
    for end in sorted(ends | {cut for cut in cuts if 0 < cut < full_steps}):
        yield start, end - start
        start = end
