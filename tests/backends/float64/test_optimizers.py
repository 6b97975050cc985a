"""SGD and Adam, by sums written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from backends.contract import SGD, Adam, Linear, Model, Optimizer
from backends.float64.arrays import Arrays
from backends.float64.optimizers import clipped, update
from backends.float64.training import Training

SAMPLES = [(1.0, 2.0), (-0.5, 1.0), (2.0, -1.0), (0.75, 0.5), (1.5, 0.0)]
LINE = Model((1,), (Linear(1, 1),))
START = {"0.weight": np.array([[0.5]], np.float32), "0.bias": np.array([-0.25], np.float32)}


def batch(x: float, t: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.array([[x]], np.float32), np.array([[t]], np.float32)


def of_line(p: NDArray[np.float64], x: float, t: float) -> tuple[float, NDArray[np.float64]]:
    """The squared error of ``y = w x + b``, and its gradient."""
    error = p[0] * x + p[1] - t
    return error**2, np.array([2 * error * x, 2 * error])


def weight_and_bias(training: Training) -> list[float]:
    return [training.parameters["0.weight"][0, 0], training.parameters["0.bias"][0]]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_sum_over_past_gradients(momentum: float, nesterov: bool, weight_decay: float) -> None:
    """For ``y = w x + b``, with the velocity written out as ``sum_s momentum^(t-s) g_s``."""
    training = Training(LINE, "mean-squared-error", SGD(0.05, momentum, nesterov, weight_decay), START)
    p, past = np.array([0.5, -0.25]), []
    for x, t in SAMPLES:
        expected, gradient = of_line(p, x, t)
        assert training.step(*batch(x, t)) == pytest.approx(expected, rel=1e-13)
        past.append(gradient + weight_decay * p)
        velocity = sum(momentum**age * g for age, g in enumerate(reversed(past)))
        p = p - 0.05 * (past[-1] + momentum * velocity if nesterov else velocity)
        np.testing.assert_allclose(weight_and_bias(training), p, rtol=1e-13)


@pytest.mark.parametrize(("weight_decay", "decoupled"), [(0.0, False), (0.1, False), (0.0, True), (0.1, True)])
def test_adam_divides_means_over_past_gradients(weight_decay: float, decoupled: bool) -> None:
    """With the corrected moments written out as means whose weights ``beta^(t-s)`` add up to 1."""
    training = Training(LINE, "mean-squared-error", Adam(0.05, 0.8, 0.95, 0.01, weight_decay, decoupled), START)
    p, past = np.array([0.5, -0.25]), []
    for x, t in SAMPLES:
        expected, gradient = of_line(p, x, t)
        assert training.step(*batch(x, t)) == pytest.approx(expected, rel=1e-13)
        past.append(gradient + (0.0 if decoupled else weight_decay) * p)
        ages = np.arange(len(past))[::-1]
        mean = np.average(past, axis=0, weights=0.8**ages)
        mean_square = np.average(np.square(past), axis=0, weights=0.95**ages)
        p = p - 0.05 * (weight_decay * p if decoupled else 0.0) - 0.05 * mean / (np.sqrt(mean_square) + 0.01)
        np.testing.assert_allclose(weight_and_bias(training), p, rtol=1e-12)


OPTIMIZERS: list[Optimizer] = [SGD(0.05, 0.9, False, 0.1), Adam(0.05, 0.9, 0.99, 0.01, 0.1, True)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adamw"])
def test_a_rate_takes_the_place_of_the_optimizers(optimizer: Optimizer) -> None:
    scheduled = Training(LINE, "mean-squared-error", optimizer, START)
    constant = Training(LINE, "mean-squared-error", optimizer, START)
    for step, (x, t) in enumerate(SAMPLES):
        rate = 0.1 / (step + 1)
        constant.optimizer = replace(optimizer, learning_rate=rate)
        assert scheduled.step(*batch(x, t), rate=rate) == constant.step(*batch(x, t))
    assert weight_and_bias(scheduled) == weight_and_bias(constant)


GRADIENTS: Arrays = {"0.weight": np.array([[3.0, 0.0]]), "0.bias": np.array([-4.0])}


def test_gradients_are_clipped_by_their_norm_taken_together() -> None:
    for limit, scale in ((1.0, 0.2), (5.0, 1.0), (7.0, 1.0), (0.0, 1.0)):
        for name, g in clipped(GRADIENTS, limit).items():
            np.testing.assert_allclose(g, scale * GRADIENTS[name], rtol=1e-15)


def test_gradients_are_clipped_before_weight_decay_is_added() -> None:
    parameters: Arrays = {name: np.full(g.shape, 10.0) for name, g in GRADIENTS.items()}
    update(SGD(0.5, 0.0, False, 0.1, clip_norm=1.0), parameters, {}, GRADIENTS)
    for name, g in GRADIENTS.items():
        np.testing.assert_allclose(parameters[name], 10 - 0.5 * (0.2 * g + 0.1 * 10), rtol=1e-15)


def test_gradients_of_zero_are_not_divided_by_their_norm() -> None:
    nothing = {name: 0 * g for name, g in GRADIENTS.items()}
    assert all(math.isfinite(g.sum()) for g in clipped(nothing, 1.0).values())
