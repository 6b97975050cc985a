"""Every layer: its gradients by finite differences, its values by plain loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Tanh
from backends.float64.arrays import Array, Arrays
from backends.float64.layers import OPERATIONS, flatten, linear, max_pool2d, relu
from tests.backends.float64.helpers import assert_close, by_differences, distinct, shapes


@st.composite
def layers_with_inputs(draw: st.DrawFn, *kinds: type[Layer]) -> tuple[Layer, Arrays, Array]:
    """A layer, its parameters, and an input; windows may overlap, leave gaps, or leave a border out."""
    kind: Any = draw(st.sampled_from(kinds))
    n, c, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, padding = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 2))
    h, w = draw(st.integers(kernel, kernel + 4)), draw(st.integers(kernel, kernel + 4))
    layer: Layer
    if kind is Linear:
        layer = Linear(c * h, outputs)
    elif kind is Conv2d:
        layer = Conv2d(c, outputs, kernel, stride, padding)
    elif kind in (MaxPool2d, AvgPool2d):
        layer = kind(kernel, stride)
    else:
        layer = kind()
    seed = draw(st.integers(0, 2**32 - 1))
    own = {name: distinct(shape, seed + 1) for name, shape in shapes(layer).items()}
    return layer, own, distinct((n, c * h) if kind is Linear else (n, c, h, w), seed)


@given(layers_with_inputs(Flatten, Linear, Conv2d, MaxPool2d, AvgPool2d, ReLU, Tanh))
@settings(max_examples=150, deadline=None)
def test_layer_gradients_are_those_of_finite_differences(drawn: tuple[Layer, Arrays, Array]) -> None:
    layer, own, x = drawn
    operation = OPERATIONS[type(layer)]
    y, back = operation(layer, own, x)
    g = distinct(y.shape, 5)

    def weighted() -> float:
        return float((operation(layer, own, x)[0] * g).sum())

    gradients = back.parameters(g)
    assert_close(back.inputs(g), by_differences(weighted, x))
    assert gradients.keys() == own.keys()
    for name, values in own.items():
        assert_close(gradients[name], by_differences(weighted, values))


def conv2d_in_loops(layer: Conv2d, own: Arrays, x: Array) -> Array:
    """Every output is a sum over the kernel's places that lie inside the image."""
    _, _, h, w = x.shape
    tops = range(-layer.padding, h + layer.padding - layer.kernel + 1, layer.stride)
    lefts = range(-layer.padding, w + layer.padding - layer.kernel + 1, layer.stride)
    y = np.empty((len(x), layer.outputs, len(tops), len(lefts)))
    for (n, o, p, q), _ in np.ndenumerate(y):
        y[n, o, p, q] = own["bias"][o]
        for c, i, j in np.ndindex(layer.inputs, layer.kernel, layer.kernel):
            row, column = tops[p] + i, lefts[q] + j
            if 0 <= row < h and 0 <= column < w:
                y[n, o, p, q] += own["weight"][o, c, i, j] * x[n, c, row, column]
    return y


def pool_in_loops(layer: MaxPool2d | AvgPool2d, x: Array, take: Callable[[Array], float]) -> Array:
    _, _, h, w = x.shape
    k = layer.kernel
    tops, lefts = range(0, h - k + 1, layer.stride), range(0, w - k + 1, layer.stride)
    y = np.empty((*x.shape[:2], len(tops), len(lefts)))
    for (n, c, p, q), _ in np.ndenumerate(y):
        y[n, c, p, q] = take(x[n, c, tops[p] : tops[p] + k, lefts[q] : lefts[q] + k])
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
            expected = pool_in_loops(layer, x, lambda window: float(window.mean()))
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
    y, back = max_pool2d(MaxPool2d(2, 1), {}, x)
    assert y.tolist() == [[[[7.0, 7.0]]]]
    # Both windows hold x[0, 1]; it is the first 7 of either.
    assert back.inputs(np.array([[[[2.0, 3.0]]]])).tolist() == [[[[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]]]

    y, back = max_pool2d(MaxPool2d(2, 1), {}, x - [[[[0.0, 0.0, 0.1], [0.1, 0.0, 0.3]]]], close=0.2)
    assert y.tolist() == [[[[7.0, 7.0]]]]
    assert back.inputs(np.array([[[[2.0, 3.0]]]])).tolist() == [[[[0.0, 0.0, 3.0], [2.0, 0.0, 0.0]]]]


def test_relu_has_no_slope_at_zero() -> None:
    y, back = relu(ReLU(), {}, np.array([[-1.0, 0.0, 2.0]]))
    assert y.tolist() == [[0.0, 0.0, 2.0]]
    assert back.inputs(np.full((1, 3), 3.0)).tolist() == [[0.0, 0.0, 3.0]]
