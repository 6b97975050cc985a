"""The audit knows an honest worker, whatever its optimizer, and one that has stopped doing its work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.contract import SGD, Linear, Model, Parameters, Tanh
from backends.float64.training import Training
from results.proof.audit import Audit, continue_from
from results.proof.judge import Case
from results.proof.ladder import Rung, after_the_last_epoch

MODEL = Model((6,), (Linear(6, 8), Tanh(), Linear(8, 3)))
STEPS = {0, 1, 4, 24}
"""Numbers of steps after which the worker is asked for its parameters."""


def make_case(sgd: SGD) -> Case:
    generator = np.random.default_rng(5)
    shapes = {"0.weight": (8, 6), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
    initial = {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    features = generator.normal(size=(60, 6)).astype(np.float32)
    labels = generator.integers(0, 3, 60).astype(np.int32)
    batches = [generator.choice(60, 10, replace=False) for _ in range(30)]
    return Case(MODEL, "cross-entropy", sgd, initial, features, labels, batches, 30, features, labels, "float32")


def work(case: Case, updates: int) -> Audit:
    """Train the case in float32, then take the audit's steps, of which only the first ones change the weights."""
    training = Training(case.model, case.loss, case.optimizer, case.initial, np.float32)
    for batch in case.batches:
        training.step(case.features[batch], case.labels[batch])
    batches, losses, parameters = case.batches[: max(STEPS)], [], {0: snapshot(training)}
    for step, batch in enumerate(batches, 1):
        before = dict(training.parameters)
        losses.append(training.step(case.features[batch], case.labels[batch]))
        if step > updates:
            training.parameters = before
        if step in STEPS:
            parameters[step] = snapshot(training)
    return Audit(batches, np.array(losses, np.float32), parameters, 0.1)


def snapshot(training: Training) -> Parameters:
    return {name: values.astype(np.float32) for name, values in training.parameters.items()}


def climb(case: Case, audit: Audit, budget: float = 60) -> Rung:
    return after_the_last_epoch(audit, continue_from(case, audit, budget))


@pytest.mark.parametrize(
    "sgd",
    [
        SGD(0.1, 0.0, False, 0.0),
        SGD(0.1, 0.0, False, 0.01),
        SGD(0.1, 0.9, False, 0.0),
        SGD(0.1, 0.9, True, 0.01),
        SGD(0.001, 0.99, True, 0.0),
    ],
    ids=str,
)
def test_an_honest_worker_passes_and_an_idle_one_does_not(sgd: SGD) -> None:
    case = make_case(sgd)
    assert climb(case, work(case, updates=99)).holds
    for updates in (0, 1, 3, 20):
        assert not climb(case, work(case, updates)).holds, updates


def test_the_step_where_it_leaves_is_named() -> None:
    case = make_case(SGD(0.1, 0.9, True, 0.01))
    assert climb(case, work(case, updates=2)).where == "first left at step 4"


def test_another_momentum_is_noticed_though_its_velocity_cannot_be_asked_for() -> None:
    case = make_case(SGD(0.1, 0.9, False, 0.0))
    audit = work(replace(case, optimizer=SGD(0.1, 0.89, False, 0.0)), updates=99)
    assert not climb(case, audit).holds


def test_without_time_it_still_gets_to_the_queued_steps() -> None:
    case = make_case(SGD(0.1, 0.9, True, 0.01))
    continuation = continue_from(case, work(case, updates=99), budget=0)
    assert len(continuation.losses.values) == 4
    assert list(continuation.parameters) == [4]
