"""Every layer: its gradients by finite differences, its values by plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import (
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    is_learned,
)
from backends.float64.activations import leaky_relu, relu
from backends.float64.arrays import Array, Arrays
from backends.float64.layers import OPERATIONS, flatten, linear
from backends.float64.normalization import batch_norm
from backends.float64.windows import max_pool2d
from tests.backends.float64.helpers import assert_close, by_differences, distinct, shapes

ACTIVATIONS = (ReLU(), LeakyReLU(0.1), Tanh(), Sigmoid(), SiLU(), GELU(tanh=False), GELU(tanh=True), Softplus())


@st.composite
def layers_with_inputs(draw: st.DrawFn, *kinds: type[Layer]) -> tuple[Layer, Arrays, Array]:
    """A layer, its parameters, and an input; windows may overlap, leave gaps, or leave a border out."""
    kind: Any = draw(st.sampled_from(kinds))
    n, c, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    pairs = (st.tuples(st.integers(least, most), st.integers(least, most)) for least, most in ((1, 3), (1, 4), (0, 1)))
    kernel, stride, padding = (draw(pair) for pair in pairs)
    h, w = (draw(st.integers(side, side + 3)) for side in kernel)
    shape: tuple[int, ...] = (n, c, h, w)
    layer: Any
    if kind is Linear:
        layer, shape = Linear(c * h, draw(st.integers(1, 3)), draw(st.booleans())), (n, c * h)
    elif kind is Conv2d:
        outputs = groups * draw(st.integers(1, 2))
        layer = Conv2d(c * groups, outputs, kernel, stride, padding, groups, draw(st.booleans()))
        shape = (n, c * groups, h, w)
    elif kind in (MaxPool2d, AvgPool2d):
        layer = kind(kernel, stride, tuple(min(pad, side // 2) for pad, side in zip(padding, kernel, strict=True)))
    elif kind is BatchNorm:
        layer, shape = BatchNorm(c, 0.1, 1e-2), draw(st.sampled_from([(n + 1, c), (n + 1, c, h, w)]))
    elif kind in (Flatten, GlobalAvgPool2d):
        layer = kind()
    else:
        layer = draw(st.sampled_from(ACTIVATIONS))
    seed = draw(st.integers(0, 2**32 - 1))
    own = {name: distinct(shape, seed + 1) for name, shape in shapes(layer).items()}
    return layer, own, distinct(shape, seed)


@given(layers_with_inputs(Flatten, Linear, Conv2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d, BatchNorm, ReLU))
@settings(max_examples=200, deadline=None)
def test_layer_gradients_are_those_of_finite_differences(drawn: tuple[Layer, Arrays, Array]) -> None:
    layer, own, x = drawn
    operation = OPERATIONS[type(layer)]
    y, back = operation(layer, own, x)
    g = distinct(y.shape, 5)

    def weighted() -> float:
        return float((operation(layer, own, x)[0] * g).sum())

    gradients = back.parameters(g)
    assert_close(back.inputs(g), by_differences(weighted, x))
    assert gradients.keys() == set(filter(is_learned, own))
    for name, gradient in gradients.items():
        assert_close(gradient, by_differences(weighted, own[name]))


def conv2d_in_loops(layer: Conv2d, own: Arrays, x: Array) -> Array:
    """Every output is a sum over the kernel's places that lie inside the image."""
    _, _, h, w = x.shape
    tops, lefts = corners(layer, h, w)
    y = np.empty((len(x), layer.outputs, len(tops), len(lefts)))
    inputs, outputs = layer.inputs // layer.groups, layer.outputs // layer.groups
    for (n, o, p, q), _ in np.ndenumerate(y):
        y[n, o, p, q] = own["bias"][o] if layer.bias else 0
        for c, i, j in np.ndindex(inputs, *layer.kernel):
            row, column = tops[p] + i, lefts[q] + j
            if 0 <= row < h and 0 <= column < w:
                y[n, o, p, q] += own["weight"][o, c, i, j] * x[n, o // outputs * inputs + c, row, column]
    return y


def corners(layer: Conv2d | MaxPool2d | AvgPool2d, *sides: int) -> list[range]:
    """Where windows begin, in rows and in columns."""
    sizes = zip(sides, layer.kernel, layer.stride, layer.padding, strict=True)
    return [range(-padding, side + padding - kernel + 1, stride) for side, kernel, stride, padding in sizes]


def pool_in_loops(layer: MaxPool2d | AvgPool2d, x: Array, take: Callable[[Array], float]) -> Array:
    """``take`` gets what of a window lies inside the image."""
    _, _, h, w = x.shape
    tops, lefts = corners(layer, h, w)
    y = np.empty((*x.shape[:2], len(tops), len(lefts)))
    for (n, c, p, q), _ in np.ndenumerate(y):
        top, left = tops[p], lefts[q]
        y[n, c, p, q] = take(x[n, c, max(top, 0) : top + layer.kernel[0], max(left, 0) : left + layer.kernel[1]])
    return y


@given(layers_with_inputs(Conv2d, MaxPool2d, AvgPool2d))
@settings(deadline=None)
def test_windowed_layers_do_what_plain_loops_do(drawn: tuple[Layer, Arrays, Array]) -> None:
    layer, own, x = drawn
    match layer:
        case Conv2d():
            expected = conv2d_in_loops(layer, own, x)
        case MaxPool2d():
            expected = pool_in_loops(layer, x, lambda window: float(window.max()))
        case AvgPool2d():
            expected = pool_in_loops(layer, x, lambda window: float(window.sum() / math.prod(layer.kernel)))
    assert_close(OPERATIONS[type(layer)](layer, own, x)[0], expected, 1e-12)


def test_linear_and_flatten_follow_the_canonical_layout() -> None:
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    flat, _ = flatten(Flatten(), {}, x)
    assert flat.tolist() == [list(range(12))]
    own = {"weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": np.array([0.5, 0.25, 0.125])}
    y, _ = linear(Linear(2, 3), own, np.array([[10.0, 1.0]]))
    assert y.tolist() == [[12.5, 34.25, 56.125]]


def test_first_of_equal_maxima_gets_the_gradient() -> None:
    x = np.array([[[[1.0, 7.0, 7.0], [7.0, 0.0, 7.0]]]])
    y, back = max_pool2d(MaxPool2d((2, 2), (1, 1)), {}, x)
    assert y.tolist() == [[[[7.0, 7.0]]]]
    # Both windows hold x[0, 1]; it is the first 7 of either.
    assert back.inputs(np.array([[[[2.0, 3.0]]]])).tolist() == [[[[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]]]

    y, back = max_pool2d(MaxPool2d((2, 2), (1, 1)), {}, x - [[[[0.0, 0.0, 0.1], [0.1, 0.0, 0.3]]]], close=0.2)
    assert y.tolist() == [[[[7.0, 7.0]]]]
    assert back.inputs(np.array([[[[2.0, 3.0]]]])).tolist() == [[[[0.0, 0.0, 3.0], [2.0, 0.0, 0.0]]]]


def test_relu_has_no_slope_at_zero() -> None:
    y, back = relu(ReLU(), {}, np.array([[-1.0, 0.0, 2.0]]))
    assert y.tolist() == [[0.0, 0.0, 2.0]]
    assert back.inputs(np.full((1, 3), 3.0)).tolist() == [[0.0, 0.0, 3.0]]


def test_leaky_relu_has_its_slope_at_zero() -> None:
    y, back = leaky_relu(LeakyReLU(0.1), {}, np.array([[-1.0, 0.0, 2.0]]))
    assert y.tolist() == [[-0.1, 0.0, 2.0]]
    assert back.inputs(np.full((1, 3), 3.0)).tolist() == [[0.1 * 3.0, 0.1 * 3.0, 3.0]]


@pytest.mark.parametrize(
    ("layer", "at_one"),
    [
        (Sigmoid(), 0.7310585786300049),
        (SiLU(), 0.7310585786300049),
        (GELU(tanh=False), 0.8413447460685429),
        (GELU(tanh=True), 0.8411919906082768),
        (Softplus(), 1.3132616875182228),
    ],
)
def test_activations_have_the_values_that_their_formulas_give(layer: Layer, at_one: float) -> None:
    x = np.array([[1.0, -800.0, 800.0]])
    y, _ = OPERATIONS[type(layer)](layer, {}, x)
    assert y[0, 0] == pytest.approx(at_one, rel=1e-14)
    assert y[0, 1] == pytest.approx(0)
    assert y[0, 2] == (1.0 if isinstance(layer, Sigmoid) else 800.0)


def test_batch_norm_normalises_by_the_batch_and_moves_its_statistics() -> None:
    own = {"weight": np.array([2.0]), "bias": np.array([0.5]), "running_mean": np.zeros(1), "running_var": np.ones(1)}
    layer, x = BatchNorm(1, momentum=0.1, epsilon=0.0), np.array([[0.0], [1.0], [2.0], [3.0]])
    y, back = batch_norm(layer, own, x)
    assert_close(y[:, 0], 2 * (x[:, 0] - 1.5) / np.sqrt(1.25) + 0.5)
    # The variance of 0, 1, 2, 3 is 1.25 divided by their number, and 5/3 divided by one less.
    assert back.statistics["running_mean"] == pytest.approx([0.15])
    assert back.statistics["running_var"] == pytest.approx([0.9 + 0.1 * 5 / 3])
    y, back = batch_norm(layer, own, x, training=False)
    assert_close(y[:, 0], 2 * x[:, 0] + 0.5)
    assert not back.statistics


def test_batch_norm_with_roundings_is_the_same_but_for_them() -> None:
    own = {"weight": np.ones(3), "bias": np.zeros(3), "running_mean": np.zeros(3), "running_var": np.ones(3)}
    x = distinct((4, 3, 2, 2), 1) + 5
    (rounded, _), (exact, _) = (batch_norm(BatchNorm(3, 0.1, 1e-5), own, x, rounding=r) for r in (1e-9, 0.0))
    assert_close(rounded, exact, 1e-7)
    assert not np.allclose(rounded, exact, rtol=1e-10, atol=1e-10)
