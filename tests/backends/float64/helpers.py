"""Models, values and samples that these tests draw, and gradients by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backends.contract import (
    SGD,
    AvgPool2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Loss,
    MaxPool2d,
    Model,
    Parameters,
    ReLU,
    Tanh,
)
from backends.float64.arrays import Array

PLAIN = SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)
SMOOTH = Model(
    (2, 9, 8),
    (
        Conv2d(2, 3, 3, 2, 1),
        Tanh(),
        Conv2d(3, 2, 2, 1, 1),
        AvgPool2d(3, 2),
        Flatten(),
        Linear(8, 4),
        Tanh(),
        Linear(4, 3),
    ),
)
KINKED = Model(
    (2, 8, 9),
    (Conv2d(2, 3, 3, 1, 2), ReLU(), MaxPool2d(3, 2), Conv2d(3, 2, 2, 1, 0), ReLU(), Flatten(), Linear(24, 3)),
)
FLAT = Model((2, 3, 2), (Flatten(), Linear(12, 5), ReLU(), Linear(5, 3)))


def distinct(shape: tuple[int, ...], seed: int) -> Array:
    """Values in [-2, 2], none 0 and no two closer than finite differences can tell: no kink is ever crossed."""
    size = math.prod(shape)
    values = np.random.default_rng(seed).permutation(size) + 0.25
    return (values / size * 4 - 2).reshape(shape)


def by_differences(function: Callable[[], float], array: Array, step: float = 1e-6) -> Array:
    """The gradient of ``function`` with respect to ``array``, which it reads, by central differences."""
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        middle = array[index]
        array[index] = middle + step
        above = function()
        array[index] = middle - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = middle
    return gradient


def assert_close(actual: NDArray[np.floating], expected: NDArray[np.floating], tolerance: float = 1e-7) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's parameters."""
    match layer:
        case Linear(inputs, outputs):
            return {"weight": (outputs, inputs), "bias": (outputs,)}
        case Conv2d(inputs, outputs, kernel):
            return {"weight": (outputs, inputs, kernel, kernel), "bias": (outputs,)}
        case _:
            return {}


def draw_parameters(model: Model, seed: int = 0) -> Parameters:
    generator = np.random.default_rng(seed)
    return {
        f"{i}.{name}": generator.uniform(-0.7, 0.7, shape).astype(np.float32)
        for i, layer in enumerate(model.layers)
        for name, shape in shapes(layer).items()
    }


def draw_samples(model: Model, loss: Loss, n: int, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((n, *model.input_shape)).astype(np.float32)
    if loss == "cross-entropy":
        return features, generator.integers(0, 3, n).astype(np.int32)
    return features, generator.standard_normal((n, 3)).astype(np.float32)
