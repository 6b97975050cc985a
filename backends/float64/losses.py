"""The losses: each is one function, which returns the mean over the batch and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import Loss
from backends.float64.arrays import Array


def cross_entropy(logits: Array, labels: NDArray[Any], smoothing: float = 0.0) -> tuple[float, Array]:
    """Return the mean over the batch of ``-log softmax(z)[label]`` for logits ``z`` ``[n, classes]``, and its gradient.

    ``-log softmax(z)[t] = log(sum_c exp z[c]) - z[t]``, hence ``dz = (softmax(z) - onehot(t)) / n`` (Goodfellow et
    al., section 6.2.2.3). Neither changes when the largest logit is taken from all, and then nothing overflows
    (Blanchard, Higham & Higham, 2021, "Accurately computing the log-sum-exp and softmax functions"). With smoothing
    ``s`` the target is ``(1 - s) onehot(t) + s / classes``, in the loss and in its gradient.
    """
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_softmax)
    terms = -log_softmax[rows, labels]
    if smoothing:
        s = logits.dtype.type(smoothing)
        terms = (1 - s) * terms - s * log_softmax.mean(axis=1)
        gradient -= s / logits.shape[1]
    gradient[rows, labels] -= logits.dtype.type(1 - smoothing)
    return mean(terms), gradient / len(logits)


def mean_squared_error(outputs: Array, targets: NDArray[Any]) -> tuple[float, Array]:
    """Return the mean of ``(z - t)^2`` over samples and outputs, and its gradient ``2 (z - t) / (n * outputs)``."""
    errors = outputs - targets
    return mean(errors * errors), 2 * errors / errors.size


def mean(terms: Array) -> float:
    """Return the mean of all terms, added one after the other.

    In float32 the error of such a sum grows with the number of terms, while that of NumPy's own, by pairs, hardly does
    (Higham, 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2). Libraries have both, and the copies
    that stand for them must not be more exact than any of them.
    """
    return float(np.cumsum(terms)[-1] / terms.size)


LOSSES: dict[Loss, Callable[..., tuple[float, Array]]] = {
    "cross-entropy": cross_entropy,
    "mean-squared-error": mean_squared_error,
}
