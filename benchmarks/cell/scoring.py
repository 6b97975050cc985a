"""Loss and accuracy from raw model outputs, in float64, by one piece of code for all backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import SMALLEST_NORMAL, Loss, Parameters
from benchmarks.spec.data import LinearRegression
from results.record import Epoch


@dataclass(frozen=True)
class Score:
    """Mean loss per sample, and the share of samples whose largest logit is the right class (None in regression)."""

    loss: float
    accuracy: float | None


def score(outputs: NDArray[np.float32], labels: NDArray[Any], loss: Loss) -> Score:
    """Score float32 outputs ``[n, classes]`` or ``[n, outputs]`` against labels of the canonical layout."""
    values = outputs.astype(np.float64)
    if loss == "mean-squared-error":
        return Score(float(np.mean((values - labels) ** 2)), None)
    # log-sum-exp with the largest logit taken out, so that exp cannot overflow (Goodfellow et al., 2016, section 4.1).
    largest = values.max(axis=1)
    log_sum = largest + np.log(np.exp(values - largest[:, None]).sum(axis=1))
    right = values[np.arange(len(values)), labels]
    return Score(float(np.mean(log_sum - right)), float(np.mean(values.argmax(axis=1) == labels)))


def confusion(outputs: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> list[list[int]]:
    """Count samples by true class (row) and predicted class (column) from outputs ``[n, classes]``."""
    classes = outputs.shape[1]
    cells = labels.astype(np.int64) * classes + outputs.argmax(axis=1)
    found: list[list[int]] = np.bincount(cells, minlength=classes**2).reshape(classes, classes).tolist()
    return found


def is_better(row: Epoch, than: Epoch) -> bool:
    """Whether an epoch's validation accuracy is higher, or in a regression its validation loss lower."""
    if row.validation_accuracy is None or than.validation_accuracy is None:
        return (row.validation_loss or 0.0) < (than.validation_loss or 0.0)
    return row.validation_accuracy > than.validation_accuracy


def count_subnormal(parameters: Parameters) -> int:
    """How many weights are not 0, but smaller than float32's smallest normal number."""
    weights = [values for values in parameters.values() if values.dtype == np.float32]
    return sum(int(((values != 0) & (np.abs(values) < SMALLEST_NORMAL)).sum()) for values in weights)


def line_errors(line: LinearRegression, parameters: Parameters) -> tuple[float, float]:
    """Return how far the weights (the largest error of any) and the bias of a linear layer are from the true ones."""
    weight, bias = parameters["0.weight"][0], parameters["0.bias"][0]
    return float(np.abs(weight - np.array(line.weights)).max()), abs(float(bias) - line.bias)
