"""What one worker process did with one example, request by request, up to the first that failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import Adam, Input, Job, Parameters, job_to_json
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Answer, Launch, WorkerError, WorkerProcess
from results.proof.audit import MOMENTS, moment
from results.record import Status
from tests.conformance.cases import TEST_CHUNK, Example, Files
from tests.conformance.hosting import Crew, SharedHost
from tests.conformance.measuring import busy_share

TIMEOUT = 240.0
"""Seconds that one process may work, unless the options say otherwise; compilers are slow."""

CUTS = (1, 3, 4, 4)
"""Steps of each ``train`` call."""


Stages = Generator[WorkerProcess, None, None]
"""What ``record`` goes through."""


class NotReached(Exception):
    """Something that a rung needs was never seen, because the process stopped before: where and why, and its log."""

    def __init__(self, reason: str, log: str = "") -> None:
        """Keep both."""
        super().__init__(reason)
        self.reason, self.log = reason, log


@dataclass(frozen=True)
class Target:
    """One mode of a backend on one device, with the interpreter of its environment."""

    file: Path
    python: Path
    mode: str
    device: str
    processors: tuple[int, ...]
    """Where its workers may run; the number of their threads."""
    cache: Path | None = None
    """An existing folder in which compilers keep their results from process to process, as in a bench."""
    host: SharedHost | None = None
    """What workers are copied from; without, each starts an interpreter and imports the framework."""
    timeout: float = TIMEOUT
    """Seconds that one process may work."""
    crew: Crew = field(default_factory=Crew)
    """Those who are at work."""

    def launch(self, folder: Path) -> Launch:
        """How a worker is started in an existing folder."""
        environment = worker_environment(len(self.processors))
        if self.cache:
            environment["TMPDIR"] = str(self.cache)
        return Launch(self.python, folder, folder / "log", environment, list(self.processors), self.timeout)


@dataclass
class Recording:
    """What came back so far; ``stopped`` is empty unless something failed.

    It is made by one thread and read by another one, which waits until it knows.
    """

    example: Example
    doing: str = "import"
    stopped: str = ""
    status: Status = "ok"
    """Of what stopped it; "unavailable" is an Unavailable, of which ``stopped`` gives the reason."""
    log: str = ""
    start_seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    ended: bool = False
    """Whether nothing more will be reached."""
    arrays: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """"outputs" and "outputs again" before training, "losses" of every step, "trained outputs" after it."""
    parameters: dict[str, Parameters] = field(default_factory=dict)
    """"loaded", "after predict", "held" (the same arrays once more, a step later), "one step", "trained", "moments"."""
    busy_share: float = 0.0
    """Processor time per second while nothing is asked for, after training: 1.0 is one busy core."""
    seconds: float = 0.0
    """What it took so far, without waiting for its turn."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def array(self, name: str) -> NDArray[np.float32]:
        """Return an array; raises NotReached if it did not come to that."""
        self.need(name)
        return self.arrays[name]

    def weights(self, name: str) -> Parameters:
        """Return parameters; raises NotReached if it did not come to that."""
        self.need(name)
        return self.parameters[name]

    def need(self, name: str) -> None:
        """Wait until ``name`` is reached; raises NotReached if it will not be."""
        if not self.comes_to(name):
            raise NotReached(self.stopped, self.log)

    def comes_to(self, name: str) -> bool:
        """Wait until it is known whether ``name`` is reached."""
        with self.changed:
            return self.changed.wait_for(lambda: name in self.reached or self.ended) and name in self.reached

    def reach(self, name: str) -> None:
        """Let those know who wait for it."""
        with self.changed:
            self.reached.add(name)
            self.changed.notify_all()

    def end(self) -> None:
        """Let those know who wait for something that will not come any more."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()


@contextmanager
def worker(target: Target, folder: Path) -> Iterator[WorkerProcess]:
    """Start a worker that lives as long as the ``with`` block."""
    folder.mkdir()
    launch = target.launch(folder)
    process = target.host.copy(launch) if target.host else WorkerProcess(launch)
    try:
        target.crew.join(process)
        if not target.host:
            process.hello()
            process.ask("import", file=str(target.file))
        yield process
    finally:
        target.crew.leave(process)


def load(
    process: WorkerProcess, files: Files, target: Target, device: str, input: Input = "resident", stock: bool = False
) -> Answer:
    """Ask for ``load``."""
    example = files.example
    job = Job(
        example.model,
        example.loss,
        example.optimizer,
        target.mode,
        device=device,
        input=input,
        stock=stock,
        label_smoothing=example.label_smoothing,
        scheduled=example.scheduled,
    )
    return process.ask("load", job=job_to_json(job), parameters=str(files.folder / "parameters.safetensors"))


def record(
    recording: Recording,
    target: Target,
    files: Files,
    folder: Path,
    cuts: Sequence[int] = CUTS,
    input: Input = "resident",
) -> Stages:
    """Take an example from ``load`` to the outputs after training, in stages; the process lives until it is exhausted.

    A stage ends with the first outputs, with the first call of ``train``, and with the end. Each yields the process.
    """
    try:
        begin = time.perf_counter()
        with worker(target, folder) as process:
            recording.start_seconds = time.perf_counter() - begin
            recording.reach("import")
            _prepare(process, files, target, recording, input)
            yield process
            losses = _first_call(process, recording, cuts)
            yield process
            _train(process, files, recording, cuts, losses)
            yield process
    except WorkerError as error:
        recording.stopped = f"{recording.doing}: {error}"
        recording.status = error.status
        if "NotImplementedError" not in recording.stopped:
            recording.log = tail(folder / "log")
    finally:
        recording.end()


def advance(recording: Recording, stages: Stages) -> None:
    """Take the next stage, if there is one."""
    begin = time.perf_counter()
    next(stages, None)
    recording.seconds += time.perf_counter() - begin


def _prepare(process: WorkerProcess, files: Files, target: Target, recording: Recording, input: Input) -> None:
    """Ask for everything that comes before training."""
    recording.doing = "load"
    load(process, files, target, target.device, input)
    recording.reach("load")
    recording.doing = "describe"
    recording.settings = process.ask("describe").values["settings"]
    recording.reach("describe")
    recording.doing = "parameters"
    _keep_parameters(process, recording, "loaded")
    recording.doing = "put"
    put(process, files, "train", len(files.case.features))
    put(process, files, "test", TEST_CHUNK)
    order(process, files)
    recording.doing = "predict"
    _keep_outputs(process, files, recording, "outputs")
    _keep_outputs(process, files, recording, "outputs again")
    recording.doing = "parameters"
    _keep_parameters(process, recording, "after predict", hold=True)


def _first_call(process: WorkerProcess, recording: Recording, cuts: Sequence[int]) -> NDArray[np.float32]:
    """Ask for the first steps, and for what has become of the parameters."""
    recording.doing = "train and synchronize"
    losses = expect_losses(process.ask("train", start=0, steps=cuts[0]), cuts[0])
    recording.arrays["first losses"] = losses
    recording.reach("first losses")
    _keep(process.ask("held"), recording, "held")
    if cuts[0] == 1:
        _keep_parameters(process, recording, "one step")
    return losses


def _train(
    process: WorkerProcess, files: Files, recording: Recording, cuts: Sequence[int], first: NDArray[np.float32]
) -> None:
    """Ask for the other full batches, the short one, one more full one, and what has become of the model."""
    recording.doing = "train and synchronize"
    losses = [first]
    for number, steps in enumerate(cuts[1:], start=1):
        losses.append(expect_losses(process.ask("train", start=sum(cuts[:number]), steps=steps), steps))
    recording.arrays["full batches"] = np.concatenate(losses)
    recording.reach("full batches")
    recording.doing = "train and synchronize with a short batch"
    losses.append(expect_losses(process.ask("train_last", epoch=0), 1))
    losses.append(expect_losses(process.ask("train", start=0, steps=1), 1))
    recording.arrays["losses"] = np.concatenate(losses)
    recording.reach("losses")
    recording.busy_share = busy_share(process.pid)
    recording.reach("idle")
    recording.doing = "predict after training"
    _keep_outputs(process, files, recording, "trained outputs")
    _keep_parameters(process, recording, "trained")
    if isinstance(recording.example.optimizer, Adam):
        recording.doing = "moments"
        answer = process.ask("moments")
        names = [moment(name, which) for which in MOMENTS for name in answer.values["names"]]
        recording.parameters["moments"] = dict(zip(names, answer.arrays, strict=True))
        recording.reach("moments")


def put(process: WorkerProcess, files: Files, split: str, chunk: int) -> None:
    """Ask for ``put``."""
    paths = {name: str(files.folder / f"{split}_{name}.npy") for name in ("features", "labels")}
    process.ask("put", name=split, chunk=chunk, **paths)


def order(process: WorkerProcess, files: Files) -> None:
    """Ask for ``order``."""
    names = ("batches", "last_batches", *(("rates", "last_rates") if files.example.scheduled else ()))
    process.ask("order", **{name: str(files.folder / f"{name}.npy") for name in names})


def _keep_parameters(process: WorkerProcess, recording: Recording, name: str, hold: bool = False) -> None:
    _keep(process.ask("parameters", hold=hold), recording, name)


def _keep(answer: Answer, recording: Recording, name: str) -> None:
    recording.parameters[name] = dict(zip(answer.values["names"], answer.arrays, strict=True))
    recording.reach(name)


def _keep_outputs(process: WorkerProcess, files: Files, recording: Recording, name: str) -> None:
    (outputs,) = process.ask("predict", name="test").arrays
    _expect("predict", outputs, len(files.case.judged_features))
    recording.arrays[name] = outputs
    recording.reach(name)


def expect_losses(answer: Answer, steps: int) -> NDArray[np.float32]:
    """The losses of an answer; raises WorkerError if it has others than one for each step."""
    (losses,) = answer.arrays
    _expect("synchronize", losses, steps)
    if losses.ndim != 1:
        raise WorkerError("failed", f"synchronize returned an array of shape {losses.shape}; return ({steps},)")
    return losses


def _expect(method: str, array: NDArray[Any], rows: int) -> None:
    if array.dtype != np.float32 or array.shape[:1] != (rows,):
        found = f"{array.dtype} of shape {array.shape}"
        raise WorkerError("failed", f"{method} returned {found}; return a float32 array with {rows} rows")


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines that a worker printed, tracebacks included."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
