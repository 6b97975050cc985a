"""What one worker process did with one example, request by request, up to the first that failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from backends.contract import Input, Job, Parameters, job_to_json
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Answer, Launch, WorkerError, WorkerProcess
from tests.conformance.cases import TEST_CHUNK, Example, Files
from tests.conformance.hosting import SharedHost

BUDGET = 240.0
"""Seconds that one process may work; compilers are slow."""

CUTS = (1, 3, 4, 4)
"""Steps of each ``train`` call."""

WINDOW_SECONDS = 0.15
"""Training time of a timed window, at least."""

WARM_UPS = 3
"""Windows of each length before it is timed: a compiler may compile twice."""

GRACE_SECONDS = 0.1
"""After ``synchronize``; a pool of threads may spin for a moment before it sleeps."""

WATCHED_SECONDS = 0.25
"""How long an idle process is watched: processor time is counted in steps of 0.01 s."""

WATCHES = 3
"""Times that a busy process is watched again before it counts as busy."""

LARGEST_IDLE_SHARE = 0.1
"""Of one core."""

LARGEST_WAIT = 0.3
"""Of a window, that ``parameters`` may still wait for after ``synchronize``."""

SMALLEST_RATIO = 1.5
"""Of the times of 2N and of N steps; 2 without overhead and noise."""

LONGEST_TIMING = 15.0
"""Seconds; others use the machine too, so it is tried again until the best figures are right, or for so long."""


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

    def launch(self, folder: Path) -> Launch:
        """How a worker is started in an existing folder."""
        environment = worker_environment(len(self.processors))
        if self.cache:
            environment["TMPDIR"] = str(self.cache)
        return Launch(self.python, folder, folder / "log", environment, list(self.processors), BUDGET)


@dataclass
class Recording:
    """What came back; ``stopped`` is empty if everything did."""

    example: Example
    doing: str = "import"
    stopped: str = ""
    unavailable: bool = False
    """Whether what stopped it was an Unavailable, of which ``stopped`` gives the reason."""
    log: str = ""
    start_seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    arrays: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """"outputs" and "outputs again" before training, "losses" of every step, "trained outputs" after it."""
    parameters: dict[str, Parameters] = field(default_factory=dict)
    """"loaded", "after predict", "one step" and "trained"."""
    busy_share: float = 0.0
    """Processor time per second while nothing is asked for, after training: 1.0 is one busy core."""

    def array(self, name: str) -> NDArray[np.float32]:
        """Return an array; raises NotReached if it did not come to that."""
        self.need(name)
        return self.arrays[name]

    def weights(self, name: str) -> Parameters:
        """Return parameters; raises NotReached if it did not come to that."""
        self.need(name)
        return self.parameters[name]

    def need(self, name: str) -> None:
        """Raise NotReached unless ``name`` was reached."""
        if name not in self.reached:
            raise NotReached(self.stopped, self.log)


@dataclass
class Timing:
    """The best of several rounds, in seconds: windows of N and 2N steps, and what is left after a window."""

    steps: int
    window: float
    double_window: float
    wait: float
    """Seconds that ``parameters`` takes longer right after a window than when asked again."""

    @property
    def ratio(self) -> float:
        """How many times longer twice the steps take."""
        return self.double_window / self.window

    @property
    def wait_share(self) -> float:
        """How much of a window's work is waited for after it."""
        return max(0.0, self.wait / (self.window + self.wait))

    @property
    def waits(self) -> bool:
        """Whether ``synchronize`` returns when the work is done, and not before."""
        return self.ratio >= SMALLEST_RATIO and self.wait_share <= LARGEST_WAIT


@contextmanager
def worker(target: Target, folder: Path) -> Iterator[WorkerProcess]:
    """Start a worker that lives as long as the ``with`` block."""
    folder.mkdir()
    launch = target.launch(folder)
    process = target.host.copy(launch) if target.host else WorkerProcess(launch)
    try:
        if not target.host:
            process.hello()
            process.ask("import", file=str(target.file))
        yield process
    finally:
        process.kill()


def load(
    process: WorkerProcess, files: Files, target: Target, device: str, input: Input = "resident", stock: bool = False
) -> Answer:
    """Ask for ``load``."""
    example = files.example
    job = Job(example.model, example.loss, example.sgd, target.mode, device=device, input=input, stock=stock)
    return process.ask("load", job=job_to_json(job), parameters=str(files.folder / "parameters.safetensors"))


def record(
    target: Target,
    files: Files,
    folder: Path,
    cuts: Sequence[int] = CUTS,
    train: bool = True,
    input: Input = "resident",
) -> Recording:
    """Take an example from ``load`` to the outputs after training, or to its first outputs only."""
    recording = Recording(files.example)
    try:
        begin = time.perf_counter()
        with worker(target, folder) as process:
            recording.start_seconds = time.perf_counter() - begin
            recording.reached.add("import")
            _prepare(process, files, target, recording, input)
            if train:
                _train(process, files, recording, cuts)
    except WorkerError as error:
        recording.stopped = f"{recording.doing}: {error}"
        recording.unavailable = error.status == "unavailable"
        if "NotImplementedError" not in recording.stopped:
            recording.log = tail(folder / "log")
    return recording


def _prepare(process: WorkerProcess, files: Files, target: Target, recording: Recording, input: Input) -> None:
    """Ask for everything that comes before training."""
    recording.doing = "load"
    load(process, files, target, target.device, input)
    recording.reached.add("load")
    recording.doing = "describe"
    recording.settings = process.ask("describe").values["settings"]
    recording.reached.add("describe")
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
    _keep_parameters(process, recording, "after predict")


def _train(process: WorkerProcess, files: Files, recording: Recording, cuts: Sequence[int]) -> None:
    """Ask for the full batches, the short one, one more full one, and what has become of the model."""
    recording.doing = "train and synchronize"
    losses = []
    for number, steps in enumerate(cuts):
        losses.append(_losses(process.ask("train", start=sum(cuts[:number]), steps=steps), steps))
        if number == 0 and steps == 1:
            _keep_parameters(process, recording, "one step")
    recording.arrays["full batches"] = np.concatenate(losses)
    recording.reached.add("full batches")
    recording.busy_share = _busy_share(process.pid)
    recording.doing = "train and synchronize with a short batch"
    losses.append(_losses(process.ask("train_last", epoch=0), 1))
    losses.append(_losses(process.ask("train", start=0, steps=1), 1))
    recording.arrays["losses"] = np.concatenate(losses)
    recording.reached.add("losses")
    recording.doing = "predict after training"
    _keep_outputs(process, files, recording, "trained outputs")
    _keep_parameters(process, recording, "trained")


def put(process: WorkerProcess, files: Files, split: str, chunk: int) -> None:
    """Ask for ``put``."""
    paths = {name: str(files.folder / f"{split}_{name}.npy") for name in ("features", "labels")}
    process.ask("put", name=split, chunk=chunk, **paths)


def order(process: WorkerProcess, files: Files) -> None:
    """Ask for ``order``."""
    process.ask("order", **{name: str(files.folder / f"{name}.npy") for name in ("batches", "last_batches")})


def _keep_parameters(process: WorkerProcess, recording: Recording, name: str) -> None:
    answer = process.ask("parameters")
    recording.parameters[name] = dict(zip(answer.values["names"], answer.arrays, strict=True))
    recording.reached.add(name)


def _keep_outputs(process: WorkerProcess, files: Files, recording: Recording, name: str) -> None:
    (outputs,) = process.ask("predict", name="test").arrays
    _expect("predict", outputs, len(files.case.judged_features))
    recording.arrays[name] = outputs
    recording.reached.add(name)


def _losses(answer: Answer, steps: int) -> NDArray[np.float32]:
    (losses,) = answer.arrays
    _expect("synchronize", losses, steps)
    if losses.ndim != 1:
        raise WorkerError("failed", f"synchronize returned an array of shape {losses.shape}; return ({steps},)")
    return losses


def _expect(method: str, array: NDArray[Any], rows: int) -> None:
    if array.dtype != np.float32 or array.shape[:1] != (rows,):
        found = f"{array.dtype} of shape {array.shape}"
        raise WorkerError("failed", f"{method} returned {found}; return a float32 array with {rows} rows")


def probe_gpu(target: Target, files: Files, folder: Path) -> tuple[str, str]:
    """Load on a GPU, then on the CPU if there was none, as ``--device auto`` does; return a status and the reason."""
    status, reason = "loaded", ""
    try:
        with worker(target, folder) as process:
            try:
                load(process, files, target, "gpu")
            except WorkerError as error:
                status, reason = error.status, str(error)
                if status == "unavailable" and target.device == "cpu":
                    load(process, files, target, "cpu")
    except WorkerError as error:
        return "failed", str(error)
    return status, reason


def time_windows(target: Target, files: Files, folder: Path) -> Timing:
    """Time windows of N and 2N steps; nothing else should run meanwhile.

    Raises WorkerError as the worker does, or if a window comes back with other losses than one for each step.
    """
    with worker(target, folder) as process:
        load(process, files, target, target.device)
        put(process, files, "train", len(files.case.features))
        order(process, files)
        steps = 1
        while (seconds := min(sum(_window(process, steps)) for _ in range(WARM_UPS))) < WINDOW_SECONDS:
            steps = max(2 * steps, min(int(1.2 * WINDOW_SECONDS / seconds * steps), 16 * steps))
        for _ in range(WARM_UPS):
            _window(process, 2 * steps)
        timing = Timing(steps, np.inf, np.inf, np.inf)
        begin = time.perf_counter()
        while not (np.isfinite(timing.window) and timing.waits) and time.perf_counter() - begin < LONGEST_TIMING:
            window, wait = _window(process, steps)
            again = process.ask("parameters").seconds
            double_window, _ = _window(process, 2 * steps)
            timing.window = min(timing.window, window)
            timing.double_window = min(timing.double_window, double_window)
            timing.wait = min(timing.wait, wait - again)
        return timing


def _window(process: WorkerProcess, steps: int) -> tuple[float, float]:
    """Train and synchronize, then ask for the parameters, which has to wait if ``synchronize`` has not."""
    answer = process.ask("train", start=0, steps=steps)
    _losses(answer, steps)
    return answer.seconds, process.ask("parameters").seconds


def _busy_share(pid: int) -> float:
    """Watch a process that has nothing to do."""
    smallest = np.inf
    for _ in range(WATCHES):
        time.sleep(GRACE_SECONDS)
        before, begin = _processor_seconds(pid), time.perf_counter()
        time.sleep(WATCHED_SECONDS)
        smallest = min(smallest, (_processor_seconds(pid) - before) / (time.perf_counter() - begin))
        if smallest <= LARGEST_IDLE_SHARE:
            break
    return float(smallest)


def _processor_seconds(pid: int) -> float:
    """Processor time of a process and all its descendants so far, user and system."""
    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines that a worker printed, tracebacks included."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
