"""Loss and accuracy of raw outputs, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.cell.scoring import count_subnormal, is_better, line_errors, score
from benchmarks.spec.data import LinearRegression
from results.record import Epoch


@given(arrays(np.float32, (7, 4), elements=st.floats(-20, 20, width=32)), st.integers(0, 2**31))
def test_cross_entropy_is_the_mean_negative_log_probability_of_the_right_class(logits: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, 7).astype(np.int32)
    probabilities = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[np.arange(7), labels]).mean()
    assert score(logits, labels, "cross-entropy").loss == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_accuracy_counts_the_samples_whose_largest_logit_is_right() -> None:
    logits = np.array([[2, 1], [0, 3], [5, 4], [1, 2]], np.float32)
    assert score(logits, np.array([0, 1, 1, 1], np.int32), "cross-entropy").accuracy == 0.75


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[1e30, 0]], np.float32)
    assert score(logits, np.array([0], np.int32), "cross-entropy").loss == 0


def test_mean_squared_error_is_a_mean_over_samples_and_outputs() -> None:
    result = score(np.array([[1, 2], [3, 4]], np.float32), np.zeros((2, 2), np.float32), "mean-squared-error")
    assert result.loss == 7.5
    assert result.accuracy is None


def test_the_better_epoch_has_the_higher_accuracy_or_without_one_the_lower_loss() -> None:
    high, low = (Epoch(1, validation_accuracy=accuracy, validation_loss=1.0) for accuracy in (0.9, 0.8))
    assert is_better(high, low)
    assert not is_better(low, high)
    assert not is_better(high, high), "of equal ones the earlier stays"
    small, large = (Epoch(1, validation_loss=loss) for loss in (0.1, 0.2))
    assert is_better(small, large)
    assert not is_better(large, small)


def test_subnormal_weights_are_counted_and_zeros_are_not() -> None:
    weights = np.array([0.0, 1.0, 2.0**-126, 2.0**-127, -1e-45], np.float32)
    assert count_subnormal({"0.weight": weights, "0.bias": weights[:1]}) == 2


def test_errors_of_a_learned_line_are_distances_from_the_true_one() -> None:
    line = LinearRegression(name="linear-regression", weights=(2.0, -3.4), bias=4.2)
    learned = {"0.weight": np.array([[2.25, -3.5]], np.float32), "0.bias": np.array([4.0], np.float32)}
    weight, bias = line_errors(line, learned)
    assert weight == pytest.approx(0.25)
    assert bias == pytest.approx(0.2, rel=1e-6)
