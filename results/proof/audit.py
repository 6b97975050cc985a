"""The audit: whether a worker trains after its last epoch, where its time is taken, as it did while it was judged.

The ladder judges the training, but the speed comes from windows after it. So a worker is asked for a few more steps at
the very end. A float64 reference and float32 copies go on from the worker's own parameters, and what they need beyond
these, the velocities of the momentum, follows from the first of the steps: its gradient is known, and so is what the
parameters did. The tolerance is made as the judge makes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backends import contract
from backends.float64.arrays import Array, Arrays
from backends.float64.training import Training
from results.proof.judge import MULTIPLE, ROUNDING, Case, Expectation, expect, expect_curve, moved


@dataclass(frozen=True)
class Audit:
    """What a worker showed: ``losses`` of all steps, and the parameters after some numbers of steps, beginning at 0, 1.

    ``batches`` are the sample indices of each step, ``seconds`` is the time of the request that repeats a timed window.
    """

    batches: Sequence[NDArray[np.int64]]
    losses: NDArray[np.float32]
    parameters: dict[int, contract.Parameters]
    seconds: float


@dataclass(frozen=True)
class Continuation:
    """What an honest worker shows: the losses of the first steps, as many as could be afforded, and parameters."""

    losses: Expectation
    parameters: dict[int, dict[str, Expectation]]


def continue_from(case: Case, audit: Audit, budget: float) -> Continuation:
    """Train on from the worker's parameters: to the second snapshot, and on while ``budget`` lasts.

    That is in seconds of processor time, as for the judge.
    """
    begin = time.process_time()
    runs = [_Run(case, audit, audit.parameters[0], audit.parameters[1], np.float64, 0.0)]
    generator = np.random.default_rng(0)
    for rounding in case.copies:
        before, after = (moved(audit.parameters[number], generator) for number in (0, 1))
        runs.append(_Run(case, audit, before, after, np.float32, rounding))
    parameters = {}
    with threadpool_limits(1), ThreadPoolExecutor(len(runs)) as pool:
        least = sorted(audit.parameters)[2]
        for step in range(1, len(audit.batches)):
            if step >= least and time.process_time() - begin > budget:
                break
            list(pool.map(_Run.step, runs))
            if step + 1 in audit.parameters:
                snapshots = [run.training.parameters for run in runs]
                parameters[step + 1] = {
                    name: expect([values[name] for values in snapshots], case.flushed(step + 1))
                    for name in snapshots[0]
                }
    losses = expect_curve(np.array([run.losses for run in runs]).T, case.flushed(np.arange(len(runs[0].losses))))
    # A late loss is small, but it is the difference of outputs that are not: one rounding of these is honest.
    largest = float(np.max(np.abs(runs[0].training.logits(case.features[audit.batches[0]]))))
    return Continuation(Expectation(losses.values, losses.tolerance + MULTIPLE * ROUNDING * largest), parameters)


class _Run:
    """The reference, or a copy of it, that goes on from a worker's parameters."""

    def __init__(
        self,
        case: Case,
        audit: Audit,
        before: contract.Parameters,
        after: contract.Parameters,
        dtype: type[np.float64] | type[np.float32],
        rounding: float,
    ) -> None:
        """Take the first step for its loss and its gradient, then go on from where the worker was after it."""
        self._case, self._audit = case, audit
        self.training = Training(case.model, case.loss, case.sgd, before, dtype, rounding)
        self.losses: list[float] = []
        self.step()
        reached: Arrays = {name: np.array(values, dtype) for name, values in after.items()}
        if case.sgd.momentum:
            self.training.velocities = _velocities(case.sgd, before, reached, self.training.velocities)
        self.training.parameters = reached

    def step(self) -> None:
        """Take the next step and keep its loss."""
        batch = self._audit.batches[len(self.losses)]
        self.losses.append(self.training.step(self._case.features[batch], self._case.labels[batch]))


def _velocities(sgd: contract.SGD, before: contract.Parameters, after: Arrays, gradients: Arrays) -> Arrays:
    """Solve the formulas of ``contract.SGD`` for the velocities after a step; gradients include the weight decay."""
    velocities: dict[str, Array] = {}
    for name, gradient in gradients.items():
        taken = (before[name].astype(gradient.dtype) - after[name]) / sgd.learning_rate
        velocities[name] = (taken - gradient) / sgd.momentum if sgd.nesterov else taken
    return velocities
