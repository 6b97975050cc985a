"""The losses: gradients by finite differences, values written out."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from backends.contract import Loss
from backends.float64.losses import LOSSES, cross_entropy, mean_squared_error
from tests.backends.float64.helpers import assert_close, by_differences, distinct


@given(n=st.integers(1, 5), outputs=st.integers(1, 5), scale=st.sampled_from([0.1, 1.0, 5.0]), seed=st.integers(0, 999))
@settings(deadline=None)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradients_are_those_of_finite_differences(
    loss: Loss, n: int, outputs: int, scale: float, seed: int
) -> None:
    z = distinct((n, outputs), seed) * scale
    generator = np.random.default_rng(seed)
    labels: NDArray[np.generic] = generator.integers(0, outputs, n).astype(np.int32)
    if loss == "mean-squared-error":
        labels = generator.standard_normal((n, outputs)).astype(np.float32)
    _, gradient = LOSSES[loss](z, labels)
    assert_close(gradient, by_differences(lambda: LOSSES[loss](z, labels)[0], z))


def test_cross_entropy_is_the_mean_of_minus_the_log_of_the_softmax() -> None:
    z = np.log(np.array([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]]))
    value, _ = cross_entropy(z, np.array([1, 0], np.int32))
    assert value == pytest.approx((math.log(8 / 2) + math.log(8 / 6)) / 2, rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_cross_entropy_is_that_of_a_target_with_a_share_of_every_class(smoothing: float) -> None:
    z, labels = distinct((4, 3), 1), np.array([1, 0, 2, 2], np.int32)
    target = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    log_softmax = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    value, gradient = cross_entropy(z, labels, smoothing)
    assert value == pytest.approx(-(target * log_softmax).sum() / 4, rel=1e-14)
    assert_close(gradient, (np.exp(log_softmax) - target) / 4, 1e-14)
    assert_close(gradient, by_differences(lambda: cross_entropy(z, labels, smoothing)[0], z))


def test_cross_entropy_of_large_logits_does_not_overflow() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, gradient = cross_entropy(np.array([[1e5, 0.0], [-1e5, 0.0]]), np.array([1, 1], np.int32))
    assert value == 5e4
    assert gradient.tolist() == [[0.5, -0.5], [0.0, 0.0]]


def test_mean_squared_error_is_the_mean_over_samples_and_outputs() -> None:
    value, _ = mean_squared_error(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 0], [0, 2]], np.float32))
    assert value == (0 + 4 + 9 + 4) / 4
