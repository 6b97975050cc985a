"""One run of one cell: the way of its worker from the start to the end, and the record that grows with it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
from numpy.typing import NDArray

from benchmarks.cell.auditing import audit
from benchmarks.cell.divergence import need_finite_losses
from benchmarks.cell.evaluation import Evaluation
from benchmarks.cell.keeping import Keeper
from benchmarks.cell.materials import hash_arrays
from benchmarks.cell.plan import Cell
from benchmarks.cell.scoring import count_subnormal, line_errors
from benchmarks.cell.summary import keep_phases, read_back, sum_up
from benchmarks.cell.timing import CallLength, TimedWindows
from benchmarks.data.cache import SPLITS
from benchmarks.machine.affinity import release
from benchmarks.spec.data import LinearRegression
from benchmarks.worker.conversation import Conversation
from benchmarks.worker.host import Host
from benchmarks.worker.loading import load
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess
from results.proof.audit import Audit, continue_from
from results.proof.checks import contradictions
from results.proof.judge import Judgement
from results.proof.ladder import Evidence, Rung, after_the_last_epoch, walk
from results.proof.parting import Partings
from results.record import Epoch, Run, Status

AUDIT_BUDGET = 0.2
"""Seconds of processor time that the reference may go on training after a worker's last epoch."""

PREDICTION_CHUNK = 1000
"""Samples that are predicted at once."""

Arguments = ParamSpec("Arguments")


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
            if error.status == "diverged":
                run.judge_so_far()
            run.end(error.status, str(error))

    return guarded


class CellRun:
    """A worker from its start to its end; ``record`` always holds what is known so far."""

    def __init__(
        self,
        cell: Cell,
        record: Run,
        judgement: Judgement,
        partings: Partings,
        session_start: float,
        progress: Callable[[CellRun], None],
        keeper: Keeper | None = None,
        call_steps: int | None = None,
        compiled: set[str] | None = None,
    ) -> None:
        """Prepare a run without starting anything. ``progress`` is called after every training window and epoch.

        ``call_steps`` is what another run of this cell has learned of the length of a call; ``compiled`` are the
        programs that runs of the session have had compiled, this one among them once it has.
        """
        self.cell = cell
        self.record = record
        self.speed = 0.0
        self.seen = 0
        self._weighted_loss = 0.0
        """Sum of the losses of the samples that the epoch has seen."""
        self.epoch = 0
        """The epoch that is being trained, counted from 1."""
        self._judgement = judgement
        self._partings = partings
        self._evidence: dict[str, Any] = {}
        self._session_start = session_start
        self._progress = progress
        self._keeper = keeper
        self._compiled = set() if compiled is None else compiled
        self._compiled_before = False
        self._conversation: Conversation
        self._windows: TimedWindows
        self._alive = False
        self.processors: list[int] = []
        self._cache: Path
        self._seconds_before = 0.0
        """Of the process that the worker is a copy of."""
        flops = (record.step_flops or 0) / cell.threads if record.device == "cpu" else 0.0
        self._length = CallLength(cell.materials.full_steps, call_steps, flops)
        self._losses: list[NDArray[np.float32]] = []
        self._evaluation: Evaluation

    @property
    def call_steps(self) -> int:
        """Steps of a call of ``train``, as far as this run has learned what is long enough."""
        return self._length.steps

    @property
    def alive(self) -> bool:
        """Whether there is a worker that can be asked."""
        return self._alive

    @property
    def last_loss(self) -> float:
        """Training loss of the latest step."""
        return float(self._losses[-1][-1])

    @property
    def step_seconds(self) -> list[float]:
        """What a step took in each timed window so far, in the order of the turns."""
        steps = self._windows.calls * self._windows.call_steps
        return [seconds / steps for seconds in self._windows.seconds]

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the worker so far; 0 if there is none any more."""
        return self._conversation.worker.cpu_seconds() if self._alive else 0.0

    @property
    def import_seconds(self) -> float:
        """What the import of the framework took; 0 before it."""
        return self._conversation.clock.seconds.get("import", 0.0) if self._alive else 0.0

    @property
    def _life(self) -> float:
        """Seconds since the process was started, or the one that it is a copy of, less what that one waited."""
        return time.perf_counter() - self._conversation.worker.started + self._seconds_before

    @property
    def _steps_done(self) -> int:
        return sum(map(len, self._losses))

    # --- the way of the run, in order -------------------------------------------------------------------------

    def start(self, launch: Launch, host: Host | None = None) -> None:
        """Start the worker process, as a copy if there is a host."""
        launch.folder.mkdir(parents=True)
        self.record.phase = "start"
        self.processors = launch.processors
        self._cache = Path(launch.environment["TMPDIR"])
        self.record.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        before = host.seconds if host else {}
        self._seconds_before = sum(before.values())
        self.record.forked = host is not None
        try:
            worker = WorkerProcess(launch, host.process, host.printed) if host else WorkerProcess(launch)
        except WorkerError as error:
            self.end(error.status, str(error))
            return
        batch_size = self.cell.materials.experiment.batch_size
        self._conversation = Conversation(worker, self.record, batch_size, self._session_start, before)
        self._evaluation = Evaluation(self._conversation, self.cell.materials, self.record)
        self._windows = TimedWindows(self._conversation, self._length, bind=not self.cell.stock)
        self._alive = True

    @_ends_on_failure
    def import_framework(self) -> None:
        """Wait for the interpreter, then have it import the backend's file, unless its host has."""
        self._conversation.hello()
        if not self.record.forked:
            self._conversation.ask("import", "import", file=str(self.cell.backend.path))

    @_ends_on_failure
    def prepare(self) -> None:
        """Load model and data, read back what is in force, and evaluate before the first step."""
        ask, materials = self._conversation.ask, self.cell.materials
        self._load()
        read_back(self._conversation, self._windows, self.record)
        self._evidence["initial"] = self._conversation.parameters()
        self.record.weights_hash = hash_arrays(self._evidence["initial"])
        for split in SPLITS:
            size = materials.data.sizes[split]
            files = {"features": str(materials.data.features(split)), "labels": str(materials.data.labels(split))}
            if size:
                ask("put", "put", name=split, chunk=size if split == "train" else PREDICTION_CHUNK, **files)
        ask("put", "order", **materials.order_files)
        judged = {"features": str(materials.judged_features), "labels": str(materials.judged_labels)}
        ask("ladder", "put", name="judged", chunk=PREDICTION_CHUNK, **judged)
        self._evaluation.after(Epoch(0))  # if a prediction is compiled, this one is
        self._evidence["logits"] = self._judged_outputs()

    @_ends_on_failure
    def first_step(self) -> None:
        """Train the first step of all, which may be compiled for it."""
        # One that begins while another one still compiles the same finds nothing of it.
        self._compiled_before = self.cell.program in self._compiled
        losses, seconds = self._conversation.train("first_step", "training", 1, 0, 1)
        self._compiled.add(self.cell.program)
        self.epoch = 1
        self._keep(losses, seconds, self.cell.materials.experiment.batch_size)

    @_ends_on_failure
    def train(self) -> None:
        """Train the rest of all epochs window by window, with an evaluation after each epoch."""
        materials = self.cell.materials
        for epoch in range(1, materials.experiment.epochs + 1):
            self._train_epoch(epoch)
            if materials.last_batch:
                losses, seconds = self._conversation.train_last(epoch - 1, materials.last_batch)
                self._keep(losses, seconds, materials.last_batch)
            parameters = self._evaluation.weights_after(epoch)
            self._evaluation.after(Epoch(epoch, train_loss=self._weighted_loss / self.seen))
            if self._keeper:
                self._keeper.after_epoch(self.record, epoch, parameters)
            self._progress(self)
            self.seen, self._weighted_loss = 0, 0.0
        self.record.subnormal_weights = count_subnormal(parameters)
        data = materials.experiment.data
        if isinstance(data, LinearRegression) and len(materials.model.layers) == 1:
            self.record.weight_error, self.record.bias_error = line_errors(data, parameters)

    def _train_epoch(self, epoch: int) -> None:
        """Train what is left of an epoch's full batches; a window ends where the ladder wants to look."""
        self.epoch = epoch
        full_steps, batch_size = self.cell.materials.full_steps, self.cell.materials.experiment.batch_size
        before = self._steps_done - (self.seen // batch_size)
        start = self.seen // batch_size
        while start < full_steps:
            ends = [(start // self.call_steps + 1) * self.call_steps, full_steps, self._judgement.steps - before]
            steps = min(end for end in ends if end > start) - start
            row = (epoch - 1) * full_steps + start
            losses, seconds = self._conversation.train("train", "training", epoch, row, steps)
            self._length.learn(steps, seconds)
            self._keep(losses, seconds, batch_size)
            start += steps

    @_ends_on_failure
    def warm_up(self) -> None:
        """Get ready for timed windows."""
        self._windows.warm_up()

    @_ends_on_failure
    def timed_window(self, turn: int) -> None:
        """Take one timed window."""
        self._windows.take(turn)

    @_ends_on_failure
    def finish(self) -> None:
        """Audit, read the peak memory, sum up, walk the ladder, cross-check, and end the run."""
        self._windows.end()
        shown = audit(self._conversation, self.cell.materials, self._windows)
        # Again: some settings can be read back only after the work.
        read_back(self._conversation, self._windows, self.record)
        if _has_files(self._cache):
            self.record.compiler_cache = "warm" if self._compiled_before else "cold"
        self.record.peak_memory_bytes = self._conversation.ask("bookkeeping", "memory").values["peak"]
        sum_up(self.record, self._windows, self._evaluation)
        self.record.losses = np.concatenate(self._losses)
        with self._conversation.clock.within("ladder"):
            rungs = self._walk(shown)
        self.record.waiting_cpu_seconds = self._conversation.worker.paused_cpu_seconds
        found = contradictions(self.record, self._life, self.processors)
        if not rungs[-1].holds:
            self.end("not-equivalent", str(rungs[-1]))
        elif found:
            self.record.equal_work = False
            self.end("failed", f"the row contradicts itself: {'; '.join(found)}")
        else:
            self._keep_models()
            self.end("ok", "")

    def end_worker(self) -> None:
        """End the worker, if there is one: nothing more is asked of this run."""
        if self._alive:
            self._alive = False
            self._conversation.worker.kill()

    def judge_so_far(self) -> None:
        """Walk the ladder of a training that got past the judged steps and then diverged: its work may be equal."""
        if "trained_logits" in self._evidence:
            self.record.losses = np.concatenate(self._losses)
            rungs = self._climb()
            self.record.equal_work = None if rungs[-1].holds else False

    def end(self, status: Status, reason: str) -> None:
        """End the run and its worker, if it has one."""
        self.record.status, self.record.reason = status, reason
        if self._losses:
            self.record.losses = np.concatenate(self._losses)
        if self._alive:
            worker, clock = self._conversation.worker, self._conversation.clock
            if status in ("ok", "not-equivalent"):
                worker.close()
            else:
                worker.kill()
            self._alive = False
            clock.switch("bookkeeping")
            self.record.wall_seconds = self._life
            keep_phases(self.record, clock.seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the worker run for the length of a ``with`` block; outside of it, it is stopped."""
        if self._alive:
            self._conversation.resume()
        try:
            yield
        finally:
            if self._alive:
                self._conversation.pause()

    @contextmanager
    def at(self, processors: list[int]) -> Iterator[None]:
        """Have all threads of the worker run on other processors for the length of a ``with`` block."""
        if processors == self.processors:
            yield
            return
        self._place(processors)
        try:
            yield
        finally:
            self._place(self.processors)

    # --- the parts ----------------------------------------------------------------------------------------------

    def _place(self, processors: list[int]) -> None:
        if self._alive:
            release(self._conversation.worker.pid, processors)

    def _load(self) -> None:
        """Load on the device that was asked for; "auto" is the GPU where the backend finds one, else the CPU."""
        cell, materials = self.cell, self.cell.materials

        def ask(job: dict[str, Any], parameters: str) -> None:
            self.record.device = job["device"]
            self._conversation.ask("load", "load", job=job, parameters=parameters)

        job = materials.job(cell.mode, cell.precision, cell.stock)
        load(ask, cell.backend.candidates(cell.device), job, materials.parameters)

    def _keep(self, losses: NDArray[np.float32], seconds: float, batch_size: int) -> None:
        """Keep the losses of one window of training."""
        step = self._steps_done + 1
        self._losses.append(losses)
        need_finite_losses(losses, step)
        self.seen += len(losses) * batch_size
        self.speed = len(losses) * batch_size / seconds
        if self._steps_done == 1:
            self._evidence["first_step"] = self._conversation.parameters()
        if self._steps_done == self._judgement.steps:
            self._evidence["trained_logits"] = self._judged_outputs()
            if self._judgement.statistics:
                self._evidence["statistics"] = self._conversation.parameters()
        self._weighted_loss += float(losses.sum(dtype=np.float64)) * batch_size
        self._progress(self)

    def _keep_models(self) -> None:
        if self._keeper:
            try:
                self._keeper.write(self.record)
            except OSError as error:
                raise WorkerError("failed", f"its models cannot be kept: {error.strerror or error}") from None

    def _judged_outputs(self) -> NDArray[np.float32]:
        (outputs,) = self._conversation.ask("ladder", "predict", name="judged").arrays
        return outputs

    def _walk(self, shown: Audit) -> list[Rung]:
        """Compare what the run showed with the judgement, audit it, and keep the result in the record."""
        rungs = self._climb(shown)
        self.record.equal_work = rungs[-1].holds
        return rungs

    def _climb(self, shown: Audit | None = None) -> list[Rung]:
        rungs = walk(Evidence(losses=self.record.losses, **self._evidence), self._judgement)
        if shown and rungs[-1].holds:
            continuation = continue_from(self.cell.materials.case(self.cell.precision), shown, AUDIT_BUDGET)
            rungs.append(after_the_last_epoch(shown, continuation))
        self.record.failed_rung = "" if rungs[-1].holds else rungs[-1].name
        self.record.ladder = [asdict(rung) for rung in rungs]
        self.record.judged_steps = self._judgement.steps
        expected = self._judgement.losses
        self.record.reference_losses = np.stack([expected.values, expected.tolerance], axis=1)
        if rungs[-1].holds and (parting := self._partings.explain(self.record.losses, expected.values)):
            self.record.parting = parting.document
        return rungs


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))
