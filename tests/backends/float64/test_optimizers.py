"""SGD, by sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from backends.contract import SGD, Linear, Model
from backends.float64.training import Training


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_sum_over_past_gradients(momentum: float, nesterov: bool, weight_decay: float) -> None:
    """For ``y = w x + b``, with the velocity written out as ``sum_s momentum^(t-s) g_s``."""
    sgd = SGD(0.05, momentum, nesterov, weight_decay)
    start = {"0.weight": np.array([[0.5]], np.float32), "0.bias": np.array([-0.25], np.float32)}
    training = Training(Model((1,), (Linear(1, 1),)), "mean-squared-error", sgd, start)
    p, past = np.array([0.5, -0.25]), []
    for x, t in [(1.0, 2.0), (-0.5, 1.0), (2.0, -1.0), (0.75, 0.5), (1.5, 0.0)]:
        error = p[0] * x + p[1] - t
        loss = training.step(np.array([[x]], np.float32), np.array([[t]], np.float32))
        assert loss == pytest.approx(error**2, rel=1e-13)
        past.append(np.array([2 * error * x, 2 * error]) + weight_decay * p)
        velocity = sum(momentum**age * g for age, g in enumerate(reversed(past)))
        p = p - 0.05 * (past[-1] + momentum * velocity if nesterov else velocity)
        now = training.parameters
        np.testing.assert_allclose([now["0.weight"][0, 0], now["0.bias"][0]], p, rtol=1e-13)
