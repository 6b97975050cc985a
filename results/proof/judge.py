"""The judge of equal work: what float64 says an experiment does, and how far honest float32 may be from it.

The tolerance follows the experiment. Beside the float64 reference, copies of it train in float32: from initial weights
that are moved by one unit in the last place each, and with everything rounded to nearest, away from zero, or towards
zero, sums by more than the rest, the losses of a batch added one after the other, and the choices of max pools turned
that are as close as that. Their distance from float64 is what float32 rounding does to this experiment, amplified by
its own chaos. To repeat a computation with other rounding directions is Kahan's advice for finding out how much
rounding matters ("How futile are mindless assessments of roundoff in floating-point computation?", 2006); a bias of
one rounding stands for what the exponentials and sums of real libraries do. A contestant may be off by ``MULTIPLE``
times the largest distance, one rounding of the quantity itself included, and what making subnormal numbers 0 can do
(``flushed``). TorchBench judges in the same way, by a
multiple of the float32 baseline's own error against float64; here it is done for whole training runs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backends import contract
from backends.contract import SMALLEST_NORMAL
from backends.float64.training import Training, Watch

MULTIPLE = 5.0
"""How many times the largest distance among the copies a contestant may be off."""

ROUNDING = float(np.finfo(np.float32).eps)

ROUNDINGS: dict[contract.Precision, float] = {"float32": ROUNDING, "tf32": 2.0**-10}
"""Distance between 1 and the next number in the precision of products."""

STEPS_TO_ESTIMATE = 4
"""Steps after which the judge decides how many it can afford."""

LONG = 100
"""From here on, the number of judged steps is a multiple of this: training windows end there anyway."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Expectation:
    """Values that float64 gives, and how far an honest backend may be from them: one number for all, or one each."""

    values: Array
    tolerance: Array


@dataclass(frozen=True)
class Decisions:
    """How many judged samples the reference has right, and for how many the class hangs on less than the tolerance."""

    labels: NDArray[Any]
    correct: int
    ambiguous: int


@dataclass(frozen=True)
class Judgement:
    """What every honest float32 backend reproduces, for the first ``steps`` steps of an experiment.

    ``logits`` and ``trained_logits`` are ``[n, outputs]`` of the judged samples before the first and after the last
    judged step, ``losses`` is ``[steps]``, ``first_step`` holds the parameters after one step, ``statistics`` the
    running statistics after the last judged one. ``decisions`` is None in a regression. ``seconds`` is what all took.
    """

    steps: int
    initial: contract.Parameters
    logits: Expectation
    first_step: dict[str, Expectation]
    losses: Expectation
    statistics: dict[str, Expectation]
    trained_logits: Expectation
    decisions: Decisions | None
    seconds: float


@dataclass(frozen=True)
class Case:
    """An experiment as the judge sees it: arrays of the canonical layout, batches as sample indices in their order."""

    model: contract.Model
    loss: contract.Loss
    optimizer: contract.Optimizer
    initial: contract.Parameters
    features: NDArray[np.float32]
    labels: NDArray[Any]
    batches: Sequence[NDArray[np.int64]]
    steps: int
    judged_features: NDArray[np.float32]
    judged_labels: NDArray[Any]
    precision: contract.Precision
    label_smoothing: float = 0.0
    rates: NDArray[np.float32] | None = None
    """The learning rate of each step, float32 ``[steps]``; None if it is always that of the optimizer."""

    def training(
        self,
        parameters: Mapping[str, NDArray[Any]],
        dtype: type[np.float64] | type[np.float32] = np.float64,
        rounding: float = 0.0,
    ) -> Training:
        """The reference, or a float32 copy of it, with these parameters."""
        return Training(self.model, self.loss, self.optimizer, parameters, dtype, rounding, self.label_smoothing)

    def step(self, run: Training, index: int, watch: Watch | None = None) -> float:
        """Have a run take the step of this index, and return its loss; ``watch`` sees every layer's input."""
        batch, rate = self.batches[index], None if self.rates is None else float(self.rates[index])
        watching = {"watch": watch} if watch else {}
        return run.step(self.features[batch], self.labels[batch], rate=rate, **watching)

    def flushed(self, steps: NDArray[Any] | int) -> Any:
        """How far a number may be off after so many steps because subnormal ones were made 0.

        Many processors, libraries and compilers do so, others do not; both are float32. A result that is flushed is off
        by less than the smallest normal number; to a number 2**23 times as large that is one rounding. But a weight of
        that size has it in every step anew, so that it may be stuck where another one decays: once in the weight, and
        ``learning_rate`` times in what it is moved by, where it lives on for 1 / (1 - momentum) steps. Adam divides
        that by epsilon at least.
        """
        optimizer = self.optimizer
        if isinstance(optimizer, contract.Adam):
            lives_on = 1 / (1 - optimizer.beta1) / optimizer.epsilon
        else:
            lives_on = 1 / (1 - optimizer.momentum)
        return SMALLEST_NORMAL * (1 + steps * (1 + optimizer.learning_rate * lives_on))

    @property
    def copies(self) -> tuple[float, ...]:
        """Relative errors that the float32 copies put on every layer's output and every gradient."""
        return (0.0, ROUNDINGS[self.precision], -ROUNDINGS[self.precision])


def judge(case: Case, budget: float) -> Judgement:
    """Train the reference and its copies, for all steps of the case or as many as fit into ``budget`` seconds.

    These are of the processor time of this process, which is the same on a busy machine; BLAS's threads are in it.
    """
    begin, own_begin = time.perf_counter(), time.process_time()
    runs = [case.training(case.initial)]
    generator = np.random.default_rng(0)
    for rounding in case.copies:
        runs.append(case.training(moved(case.initial, generator), np.float32, rounding))
    # One thread for each run, rather than several for each matrix product, is the faster way to share the cores.
    with threadpool_limits(1), ThreadPoolExecutor(len(runs)) as pool:
        logits = list(pool.map(lambda run: run.logits(case.judged_features), runs))
        own_trains = time.process_time()
        train = functools.partial(_train, case)
        losses = list(pool.map(train, runs, repeat(range(1))))
        first_step = [dict(run.parameters) for run in runs]
        estimate = range(1, min(case.steps, STEPS_TO_ESTIMATE))
        losses = [a + b for a, b in zip(losses, pool.map(train, runs, repeat(estimate)), strict=True)]
        left = budget - 2 * (own_trains - own_begin)  # the outputs after training take as long as those before
        steps = min(case.steps, _affordable(time.process_time() - own_trains, left))
        rest = range(estimate.stop, steps)
        losses = [a + b for a, b in zip(losses, pool.map(train, runs, repeat(rest)), strict=True)]
        trained = list(pool.map(lambda run: run.logits(case.judged_features), runs))
    trained_logits = expect(trained, case.flushed(steps))
    decisions = None
    if case.loss == "cross-entropy":
        decisions = _decisions(trained_logits, case.judged_labels)
    return Judgement(
        steps=steps,
        initial=case.initial,
        logits=expect(logits, case.flushed(0)),
        first_step={
            name: expect([parameters[name] for parameters in first_step], case.flushed(1)) for name in case.initial
        },
        losses=expect_curve(np.array(losses).T, case.flushed(np.arange(steps))),
        statistics={
            name: expect([run.parameters[name] for run in runs], case.flushed(steps))
            for name in case.initial
            if not contract.is_learned(name)
        },
        trained_logits=trained_logits,
        decisions=decisions,
        seconds=time.perf_counter() - begin,
    )


def _train(case: Case, run: Training, steps: range) -> list[float]:
    return [case.step(run, index) for index in steps]


def moved(parameters: contract.Parameters, generator: np.random.Generator) -> contract.Parameters:
    """Move every number but 0 to the next float32 above or below it: no second moment of Adam may become negative."""
    moved_by_name: contract.Parameters = {}
    for name, values in parameters.items():
        towards = np.where(generator.random(values.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
        moved_by_name[name] = np.where(values == 0, values, np.nextafter(values, towards))
    return moved_by_name


def _affordable(seconds: float, budget: float) -> int:
    """The number of steps that fit into the budget, given what the first ones took."""
    steps = max(STEPS_TO_ESTIMATE, int(budget / max(seconds, 1e-9) * STEPS_TO_ESTIMATE))
    return steps if steps < LONG else steps // LONG * LONG


def expect(values: list[Array], flushed: float) -> Expectation:
    """Take the first as right, and one tolerance for all numbers from the largest distance of any of the others."""
    right = values[0]
    distance = max(float(np.max(np.abs(copy - right))) for copy in values[1:])
    largest = float(np.max(np.abs(right)))
    return Expectation(right, np.array(MULTIPLE * (distance + ROUNDING * largest + flushed)))


def expect_curve(values: Array, flushed: Array) -> Expectation:
    """The same for ``[steps, runs]``, step by step: what was possible at one step stays possible after it."""
    right = values[:, 0]
    distance = np.abs(values[:, 1:] - right[:, None]).max(axis=1)
    envelope = np.maximum.accumulate(distance + ROUNDING * np.abs(right) + flushed)
    return Expectation(right, MULTIPLE * envelope)


def _decisions(logits: Expectation, labels: NDArray[Any]) -> Decisions:
    two_largest = np.sort(logits.values, axis=1)[:, -2:]
    # Both of the two may move by the tolerance, towards each other.
    ambiguous = two_largest[:, 1] - two_largest[:, 0] <= 2 * logits.tolerance
    correct = logits.values.argmax(axis=1) == labels
    return Decisions(labels, int(correct.sum()), int(ambiguous.sum()))
