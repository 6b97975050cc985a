"""Whole models: gradients by finite differences, precision, rounding, and copies that train apart."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from backends.contract import SGD, Adam, Conv2d, Flatten, Linear, Loss, MaxPool2d, Model, is_learned
from backends.float64.arrays import Back
from backends.float64.losses import LOSSES
from backends.float64.optimizers import Moments
from backends.float64.training import Pass, Training, backward, forward
from tests.backends.float64.helpers import (
    FLAT,
    KINKED,
    PLAIN,
    RESIDUAL,
    SMOOTH,
    assert_close,
    by_differences,
    draw_parameters,
    draw_samples,
)

EPSILON = float(np.finfo(np.float32).eps)
ADAMW = Adam(0.001, 0.9, 0.99, 1e-8, 0.1, decoupled=True, clip_norm=0.5)
DTYPES: tuple[Any, ...] = (np.float64, np.float32)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", [SMOOTH, KINKED, FLAT, RESIDUAL], ids=["smooth", "kinked", "flat", "residual"])
def test_gradients_of_a_whole_model_are_those_of_finite_differences(model: Model, loss: Loss, n: int) -> None:
    run = Training(model, loss, PLAIN, draw_parameters(model))
    features, labels = draw_samples(model, loss, n)
    _, gradients, _ = run.gradients(features, labels)
    assert gradients.keys() == set(filter(is_learned, run.parameters))
    for name, gradient in gradients.items():
        assert_close(gradient, by_differences(lambda: run.gradients(features, labels)[0], run.parameters[name]))


def test_every_choice_of_a_max_pool_that_rounding_could_turn_is_turned_in_one_of_the_roundings() -> None:
    # Two pixels of each window give the same sum but for its rounding: 3 * 0.1 and 0.3.
    features: Any = np.zeros((100, 1, 4, 4), np.float32)
    features[:, 0, 0, 0], features[:, 0, 3, 3] = 0.1, 0.3
    model = Model((1, 4, 4), (Conv2d(1, 1, (2, 2), (2, 2), (0, 0)), MaxPool2d((2, 2), (2, 2)), Flatten(), Linear(1, 2)))
    own: Any = {
        "0.weight": np.array([[[[3.0, 0.0], [0.0, 1.0]]]], np.float32),
        "0.bias": np.zeros(1, np.float32),
        "3.weight": np.ones((2, 1), np.float32),
        "3.bias": np.zeros(2, np.float32),
    }
    taken = []
    for rounding in (0.0, EPSILON, -EPSILON):
        _, backs = forward(model, own, features, Pass(rounding=rounding))
        assert isinstance(backs[1], Back)
        taken.append(backs[1].inputs(np.ones((100, 1, 1, 1)))[:, 0, 0, 0] != 0)
    assert len(set(taken[0])) == 1
    assert ((taken[1] != taken[0]) | (taken[2] != taken[0])).all()


def test_training_keeps_float64_and_leaves_what_it_was_given_alone() -> None:
    given_parameters = draw_parameters(SMOOTH)
    before = {name: value.copy() for name, value in given_parameters.items()}
    training = Training(SMOOTH, "cross-entropy", PLAIN, given_parameters)
    first = training.parameters.copy()
    training.step(*draw_samples(SMOOTH, "cross-entropy", 4))
    for name, value in before.items():
        assert np.array_equal(given_parameters[name], value)
        assert np.array_equal(first[name], value)
        now = training.parameters[name]
        assert now.dtype == np.float64
        assert np.any(now != now.astype(np.float32))
        now_given = Training(SMOOTH, "cross-entropy", PLAIN, {name: now}).parameters[name]
        assert now_given is not now
        assert np.array_equal(now_given, now)


def test_a_float32_copy_computes_in_float32_throughout() -> None:
    """Had one operation widened, the copy would round less than the frameworks that it stands for."""
    for model, loss in itertools.product((SMOOTH, KINKED, RESIDUAL), LOSSES):
        features, labels = draw_samples(model, loss, 4)
        optimizer = ADAMW if model is RESIDUAL else SGD(0.1, 0.9, True, 0.01, clip_norm=0.5)
        runs = [Training(model, loss, optimizer, draw_parameters(model), t) for t in DTYPES]
        for training in runs:
            x: Any = features.astype(training.dtype)
            outputs, backs = forward(model, training.parameters, x)
            _, g = LOSSES[loss](outputs, labels)
            assert {outputs.dtype, g.dtype} == {np.dtype(training.dtype)}
            gradients = backward(backs, g)
            assert {value.dtype for value in gradients.values()} == {np.dtype(training.dtype)}
            for _ in range(3):
                training.step(features, labels)
            kept = training.state.values()
            moments = [array for one in kept if isinstance(one, Moments) for array in one[:2]]
            velocities = [one for one in kept if not isinstance(one, Moments)]
            stored = [*training.parameters.values(), *moments, *velocities]
            assert {value.dtype for value in stored} == {np.dtype(training.dtype)}
        double, single = runs
        distance = np.abs(double.logits(features) - single.logits(features)).max()
        assert 1e-10 < distance < 1e-5


def test_perturbed_copies_train_apart() -> None:
    """The ladder perturbs float64 weights by less than float32 could hold; that must show, and only there."""
    start = Training(SMOOTH, "cross-entropy", PLAIN, draw_parameters(SMOOTH)).parameters
    perturbed = {name: value * (1 + 1e-12) for name, value in start.items()}
    same, again, apart = (Training(SMOOTH, "cross-entropy", PLAIN, p) for p in (start, start, perturbed))
    features, labels = draw_samples(SMOOTH, "cross-entropy", 4)
    losses = [[training.step(features, labels) for _ in range(3)] for training in (same, again, apart)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    assert np.array_equal(same.logits(features), again.logits(features))
    assert_close(same.logits(features), apart.logits(features), 1e-10)


def test_logits_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(KINKED, "cross-entropy", PLAIN, draw_parameters(KINKED))
    features, _ = draw_samples(KINKED, "cross-entropy", 8)
    whole = training.logits(features)
    monkeypatch.setattr("backends.float64.training.PIECE", 3)
    assert_close(training.logits(features), whole, 1e-13)
