"""Models, values and samples that these tests draw, and gradients by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backends.contract import (
    GELU,
    SGD,
    STATISTICS,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    Loss,
    MaxPool2d,
    Model,
    Parameters,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Tanh,
    named_layers,
)
from backends.float64.arrays import Array

PLAIN = SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)
SMOOTH = Model(
    (2, 9, 8),
    (
        Conv2d(2, 3, (3, 3), (2, 2), (1, 1)),
        Tanh(),
        Conv2d(3, 2, (2, 2), (1, 1), (1, 1)),
        AvgPool2d((3, 3), (2, 2)),
        Flatten(),
        Linear(8, 4),
        Tanh(),
        Linear(4, 3),
    ),
)
KINKED = Model(
    (2, 8, 9),
    (
        Conv2d(2, 3, (3, 3), (1, 1), (2, 2)),
        ReLU(),
        MaxPool2d((3, 3), (2, 2)),
        Conv2d(3, 2, (2, 2), (1, 1), (0, 0)),
        ReLU(),
        Flatten(),
        Linear(24, 3),
    ),
)
RESIDUAL = Model(
    (2, 6, 5),
    (
        Conv2d(2, 4, (3, 3), (1, 1), (1, 1), bias=False),
        BatchNorm(4, 0.1, 1e-2),
        Residual(
            (
                Conv2d(4, 6, (3, 3), (2, 2), (1, 1), groups=2),
                SiLU(),
                Residual((BatchNorm(6, 0.3, 1e-2), Sigmoid())),
            ),
            (Conv2d(4, 6, (1, 1), (2, 2), (0, 0)),),
        ),
        GELU(tanh=False),
        GlobalAvgPool2d(),
        Linear(6, 3),
    ),
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
        case Linear(inputs, outputs, bias):
            return {"weight": (outputs, inputs), **({"bias": (outputs,)} if bias else {})}
        case Conv2d(inputs, outputs, kernel, groups=groups, bias=bias):
            return {"weight": (outputs, inputs // groups, *kernel), **({"bias": (outputs,)} if bias else {})}
        case BatchNorm(channels):
            return dict.fromkeys(("weight", "bias", *STATISTICS), (channels,))
        case _:
            return {}


def draw_parameters(model: Model, seed: int = 0) -> Parameters:
    generator = np.random.default_rng(seed)
    drawn = {
        f"{layer_name}.{name}": generator.uniform(-0.7, 0.7, shape).astype(np.float32)
        for layer_name, layer in named_layers(model.layers)
        for name, shape in shapes(layer).items()
    }
    for name, values in drawn.items():
        if name.endswith("running_var"):
            np.abs(values, out=values)
    return drawn


def draw_samples(model: Model, loss: Loss, n: int, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((n, *model.input_shape)).astype(np.float32)
    if loss == "cross-entropy":
        return features, generator.integers(0, 3, n).astype(np.int32)
    return features, generator.standard_normal((n, 3)).astype(np.float32)
