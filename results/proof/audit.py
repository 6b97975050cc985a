"""The audit: whether a worker trains after its last epoch, where its time is taken, as it did while it was judged.

The ladder judges the training, but the speed comes from windows after it. So a worker is asked for a few more steps at
the very end. A float64 reference and float32 copies go on from the worker's own parameters, and what they need beyond
these, the velocities of the momentum, follows from the first of the steps: its gradient is known, and so is what the
parameters did. Adam's moments do not follow from one step, so the worker shows them as it shows its parameters. The
tolerance is made as the judge makes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backends import contract
from backends.float64.arrays import Arrays
from backends.float64.optimizers import Moments, State
from results.proof.judge import MULTIPLE, ROUNDING, Case, Expectation, expect, expect_curve, moved


@dataclass(frozen=True)
class Audit:
    """What a worker showed: ``losses`` of all steps, and the parameters after some numbers of steps, beginning at 0, 1.

    ``batches`` are the sample indices of each step, ``rates`` their learning rates, None if these are that of the
    optimizer; ``seconds`` is the time of the request that repeats a timed window. With Adam, ``parameters`` have its
    moments as well, by the names of ``moment``, and ``steps_before`` is how many steps it had taken before.
    """

    batches: Sequence[NDArray[np.int64]]
    losses: NDArray[np.float32]
    parameters: dict[int, contract.Parameters]
    seconds: float
    rates: NDArray[np.float32] | None = None
    steps_before: int = 0


Which = Literal["first", "second"]
MOMENTS: tuple[Which, ...] = get_args(Which)


def moment(parameter: str, which: Which) -> str:
    """What a moment of a parameter is called."""
    return f"{parameter}.{which}_moment"


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
    parameters = {1: _expected(case, runs, 1)} if isinstance(case.optimizer, contract.Adam) else {}
    with threadpool_limits(1), ThreadPoolExecutor(len(runs)) as pool:
        least = sorted(audit.parameters)[2]
        for step in range(1, len(audit.batches)):
            if step >= least and time.process_time() - begin > budget:
                break
            list(pool.map(_Run.step, runs))
            if step + 1 in audit.parameters:
                parameters[step + 1] = _expected(case, runs, step + 1)
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
        self._case = replace(case, batches=audit.batches, rates=audit.rates)
        self.training = case.training({name: before[name] for name in case.initial}, dtype, rounding)
        self.losses: list[float] = []
        if isinstance(case.optimizer, contract.Adam):
            self.training.state = _moments(before, audit.steps_before, dtype)
            self.step()
            return
        self.step()
        reached: Arrays = {name: np.array(after[name], dtype) for name in case.initial}
        if case.optimizer.momentum:
            rate = case.optimizer.learning_rate if audit.rates is None else float(audit.rates[0])
            first = replace(case.optimizer, learning_rate=rate)
            self.training.state = _velocities(first, before, reached, self.training.state)
        self.training.parameters = reached

    def step(self) -> None:
        """Take the next step and keep its loss."""
        self.losses.append(self._case.step(self.training, len(self.losses)))

    @property
    def shown(self) -> Arrays:
        """What an audit shows of a worker: the parameters and, of Adam, the moments."""
        shown = dict(self.training.parameters)
        for name, kept in self.training.state.items():
            if isinstance(kept, Moments):
                shown |= {moment(name, which): getattr(kept, which) for which in MOMENTS}
        return shown


def _expected(case: Case, runs: Sequence[_Run], steps: int) -> dict[str, Expectation]:
    """What an honest worker shows after so many steps."""
    shown = [run.shown for run in runs]
    return {name: expect([values[name] for values in shown], case.flushed(steps)) for name in shown[0]}


def _moments(shown: contract.Parameters, steps: int, dtype: type[Any]) -> State:
    """The state of Adam, as a worker has shown it before its first step."""
    suffix = moment("", "first")
    names = [name.removesuffix(suffix) for name in shown if name.endswith(suffix)]
    state: State = {}
    for name in names:
        first, second = (shown[moment(name, which)].astype(dtype) for which in MOMENTS)
        state[name] = Moments(first, second, steps)
    return state


def _velocities(sgd: contract.SGD, before: contract.Parameters, after: Arrays, gradients: State) -> State:
    """Solve the formulas of ``contract.SGD`` for the velocities after a step; gradients include the weight decay."""
    velocities: State = {}
    for name, gradient in gradients.items():
        taken = (before[name].astype(gradient.dtype) - after[name]) / sgd.learning_rate
        velocities[name] = (taken - gradient) / sgd.momentum if sgd.nesterov else taken
    return velocities
