"""The record of one run: everything that a cell of the plan left behind, whatever its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Status = Literal["ok", "unavailable", "failed", "diverged", "not-equivalent", "timeout", "interrupted"]
WindowKind = Literal["training", "warm-up", "doubled", "lead-in", "timed", "audit", "audit-step"]

Phase = Literal[
    "start",
    "import",
    "load",
    "put",
    "first_step",
    "train",
    "warm_up",
    "timed",
    "evaluate",
    "ladder",
    "waiting",
    "bookkeeping",
]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""In the order in which a run enters them; "bookkeeping" is what lockstep itself does in between."""

Say = Callable[[str], str]
"""Gives a text, or the pattern of one, in the reader's language."""

NOT_STARTED = "not started"
"""The phase of a run before it begins."""

_LABELS = {
    "start": "interpreter start",
    "put": "data to device",
    "train": "training",
    "warm_up": "warm-up",
    "timed": "timed windows",
    "evaluate": "evaluation",
    "ladder": "proof of equal work",
    "waiting": "waiting for others",
}
"""What people read where the name of a phase says too little."""


def phase_label(phase: str) -> str:
    """The phase as people read it."""
    return _LABELS.get(phase, phase.replace("_", " "))


def compiled_kind(compiled: str) -> str:
    """How much of training a mode compiles, of the column ``compiled``: modes of a kind are each other's likes."""
    parts = compiled.split(", ")
    kinds = (("loop", "loop over steps"), ("update", "whole step"), ("backward", "forward and backward"))
    return next((kind for part, kind in kinds if part in parts), "eager" if not compiled else "in part")


def judged_text(judged: float, steps: float, say: Say = str) -> str:
    """On how many steps of a training its work was proved: "all 300 steps", "39 of 210 steps"."""
    pattern = say("all {steps} steps") if judged >= steps else say("{judged} of {steps} steps")
    return pattern.format(judged=f"{judged:,.0f}", steps=f"{steps:,.0f}")


def threads_text(number: Any, say: Say = str) -> str:
    """So many threads: "1 thread", "2 threads"."""
    return (say("{number} thread") if number == 1 else say("{number} threads")).format(number=number)


def where_and_why(phase: str, reason: str) -> str:
    """In which phase a run ended, and the reason; the reason alone if it never began."""
    return reason if phase == NOT_STARTED else f"in {phase_label(phase)}: {reason}"


@dataclass
class Epoch:
    """One pass over the training set; epoch 0 is the state before the first step. Losses are means per sample."""

    epoch: int
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    train_seconds: float | None = None
    elapsed_seconds: float | None = None
    """Seconds of training up to the end of this epoch, compilation included, evaluation not."""


@dataclass
class Window:
    """Consecutive steps that were timed as one, from before the first to after ``synchronize``."""

    kind: WindowKind
    turn: int
    """Number of the turn among the workers of the comparison (timed and lead-in), or of the epoch (training)."""
    started: float
    """Seconds after the start of the session."""
    steps: int
    samples: int
    seconds: float
    kept: bool
    """Whether the window counts for the throughput."""


@dataclass(eq=False)  # a run is itself, whatever its values
class Run:
    """One row of the results table, and the finer records below it. Times are in seconds, memory in bytes.

    A value that was not measured is None; it is never a guess.
    """

    run: str
    session: str
    experiment: str
    backend: str
    mode: str
    device: str
    seed: int
    round: int
    sweep_point: str = ""
    """Where in a sweep the run stands, such as "batch_size=64"."""
    comparison: str = ""
    """The same for all runs of a round whose workers took turns; an interruption can cut a round in two."""
    node: str = ""
    """The machine of a cluster that it ran on; empty in a session that ran where it was started."""
    started: str = ""
    status: Status = "interrupted"
    phase: str = NOT_STARTED
    reason: str = ""
    experiment_hash: str = ""
    backend_hash: str = ""
    data_hash: str = ""
    weights_hash: str = ""
    batches_hash: str = ""
    resume_key: str = ""
    """Hash of all that was known of the run before it began; an interrupted session does not repeat it if it is ok."""
    classes: list[str] = field(default_factory=list)
    """What class 0, 1, ... of the data set are called; empty for a regression."""
    train_samples: int | None = None
    validation_samples: int | None = None
    test_samples: int | None = None
    batch_size: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    parameters: int | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    train_loss: float | None = None
    train_samples_per_second: float | None = None
    predict_samples_per_second: float | None = None
    best_epoch: int | None = None
    """The epoch with the best score on the validation set: the highest accuracy, in a regression the lowest loss."""
    weight_error: float | None = None
    """Largest distance of a learned weight from the true one, where a line is fitted to a generated line."""
    bias_error: float | None = None
    """The same of the bias."""
    subnormal_weights: int | None = None
    """Weights after the last epoch that are not 0, but smaller than float32's smallest normal number, 2**-126."""
    confusion: list[list[int]] | None = None
    """Samples of the test set by true class (row) and predicted class (column), after the last epoch."""
    step_flops: int | None = None
    """Floating point operations of a training step, counted from the layers."""
    gflops: float | None = None
    """10^9 floating point operations per second in steady state, counted from the layers."""
    peak_gflops: float | None = None
    """The most that any framework reached in this session, on as many threads of the same device."""
    share_of_peak: float | None = None
    product_threads: float | None = None
    """Threads of the backend that really worked, measured by processor time, in a matrix product that needs all."""
    copy_bytes_per_second: float | None = None
    """What as many threads copied from memory to memory, bytes read and written."""
    target_accuracy: float | None = None
    seconds_to_target: float | None = None
    """Seconds of training until the first epoch after which the test accuracy was the target or more."""
    environment_seconds: float | None = None
    """Making or finding the environment, before the process was started."""
    judge_seconds: float | None = None
    """Training of the float64 reference and its copies: in the first run of its experiment only."""
    forked: bool = False
    """Whether the process is a copy of one that had imported the framework, which is done once a round."""
    start_seconds: float | None = None
    """From here on the phases of the process, which add up to ``wall_seconds``. First, the interpreter starts."""
    import_seconds: float | None = None
    """The import of the backend's file; of a copy, this and the start are those of the process it comes from."""
    load_seconds: float | None = None
    put_seconds: float | None = None
    first_step_seconds: float | None = None
    """The first training step: the compilation is in it."""
    compiler_cache: str = ""
    """"cold" if the framework's compiler had nothing kept from before, "warm" if it had, empty if it keeps nothing."""
    train_seconds: float | None = None
    """The rest of the epochs."""
    warm_up_seconds: float | None = None
    """Training after the last epoch until the throughput is steady, and the lead-ins of the timed windows."""
    timed_seconds: float | None = None
    """The timed windows of the steady part."""
    evaluate_seconds: float | None = None
    ladder_seconds: float | None = None
    """What equal work cost the run to prove."""
    waiting_seconds: float | None = None
    """The process was stopped, because another one had the turn."""
    waiting_cpu_seconds: float | None = None
    """Processor time that it took meanwhile."""
    bookkeeping_seconds: float | None = None
    """What lockstep itself did in between: scoring, hashing, bookkeeping, ending the process."""
    wall_seconds: float | None = None
    """From the start of the process to its end, as the parent saw it; of a copy, as if it had been there alone."""
    cpu_per_wall: float | None = None
    """Processor seconds per second of the timed windows: the number of threads that really worked."""
    others_per_wall: float | None = None
    """Processors that other programs kept busy while the workers of the comparison took turns."""
    stolen_per_wall: float | None = None
    """Processors that the hypervisor gave to other machines meanwhile."""
    throttled: int | None = None
    """How often the processor was throttled for heat meanwhile."""
    gpu: dict[str, Any] = field(default_factory=dict)
    """Clocks (MHz), power (W) and temperature of the GPUs "before" and "after" the turns of the comparison."""
    equal_work: bool | None = None
    """Whether every rung of the ladder held; only then may the speed be compared."""
    failed_rung: str = ""
    """The first rung that did not hold."""
    judged_steps: int | None = None
    """Steps of the training that the reference judged."""
    ladder: list[dict[str, Any]] = field(default_factory=list)
    """The rungs that were walked, each with its figure and tolerance."""
    parting: dict[str, Any] = field(default_factory=dict)
    """Where the losses leave the reference's much further than before, and what decided it (``results.proof.parting``);
    empty if they do not."""
    peak_memory_bytes: int | None = None
    """Largest resident size of the process; with replicas that are processes, of each, added up."""
    peak_device_memory_bytes: int | None = None
    """Most bytes that the framework's allocator had handed out on a GPU at any time, its reserves not counted."""
    replicas: int = 1
    """Of the model, which shared the work of every batch."""
    stock: bool = False
    """Whether it ran without the tuning that an ordinary user does not have."""
    threads_asked: int | None = None
    precision_asked: str = ""
    threads: int | None = None
    precision: str | None = None
    compiled: str | None = None
    """Which parts of training the mode compiles, such as "forward, loss, backward"; empty in an eager mode."""
    framework: str = ""
    """Name and version of the packages that do the work, as the worker reported them."""
    settings: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    lockstep: str = ""
    """The version of lockstep, with its commit where it ran from a clone."""
    command: str = ""
    """What was typed to start the session."""
    weights_from: str = ""
    """The kept model that it started from; empty if its weights were drawn."""
    models: dict[str, Any] = field(default_factory=dict)
    """The models that were kept, "best" and "last", each with its file, its epoch and the file's hash."""
    experiment_json: str = ""
    log: str = ""
    epoch_rows: list[Epoch] = field(default_factory=list)
    window_rows: list[Window] = field(default_factory=list)
    losses: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """Training loss of each step, before its update."""
    reference_losses: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2), np.float64))
    """The reference's loss of each judged step, and the largest honest distance from it, ``[steps, 2]``."""


DETAILS = ("epoch_rows", "window_rows", "losses", "reference_losses")
"""Fields of ``Run`` that have tables of their own."""
