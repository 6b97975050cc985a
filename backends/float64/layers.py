"""The layers: each is one function, which returns the layer's output, and the way back.

The way back is what the chain rule makes of ``g``, the gradient of the loss with respect to that output (Rumelhart,
Hinton & Williams, 1986, "Learning representations by back-propagating errors", Nature 323; Goodfellow, Bengio &
Courville, 2016, "Deep Learning", section 6.5). Below, ``y`` is a layer's output, ``x`` its input, and ``dx`` is short
for the gradient of the loss with respect to ``x``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from backends.contract import AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Tanh
from backends.float64.arrays import Array, Arrays


@dataclass(frozen=True)
class Back:
    """The way back through one layer: from the gradient of the loss with respect to its output to ..."""

    inputs: Callable[[Array], Array]
    """... the one with respect to its input,"""

    parameters: Callable[[Array], Arrays] = lambda g: {}
    """... those with respect to its parameters, by the names "weight" and "bias"."""


def flatten(layer: Flatten, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``[n, c, h, w]`` to ``[n, c * h * w]``; the same numbers, so the gradient only gets the old shape back."""
    return x.reshape(len(x), -1), Back(lambda g: g.reshape(x.shape))


def linear(layer: Linear, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = x W^T + b``: ``[n, inputs]`` to ``[n, outputs]``.

    ``y[n,o] = sum_i x[n,i] W[o,i] + b[o]``, hence by the chain rule ``dx[n,i] = sum_o g[n,o] W[o,i]``,
    ``dW[o,i] = sum_n g[n,o] x[n,i]`` and ``db[o] = sum_n g[n,o]`` (Goodfellow et al., algorithm 6.4).
    """
    weight = own["weight"]
    return x @ weight.T + own["bias"], Back(
        inputs=lambda g: g @ weight,
        parameters=lambda g: {"weight": g.T @ x, "bias": g.sum(axis=0)},
    )


def conv2d(layer: Conv2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """Cross-correlation: ``[n, c, h, w]`` to ``[n, o, oh, ow]``, ``oh = (h + 2 padding - kernel) // stride + 1``.

    ``y[n,o,p,q] = sum_cij W[o,c,i,j] X[n,c,p*stride+i,q*stride+j] + b[o]``, where ``X`` is ``x`` with zeros around
    it (Goodfellow et al., section 9.1; Dumoulin & Visin, 2016, "A guide to convolution arithmetic for deep
    learning", arXiv:1603.07285, chapter 2 for the sizes). With ``U[ij,c,npq] = X[n,c,p*stride+i,q*stride+j]`` this
    is one matrix product, ``y = W U + b`` (Chellapilla, Puri & Simard, 2006, "High performance convolutional neural
    networks for document processing"). So, as in ``linear``, ``dW = g U^T``, ``db`` is the sum of ``g`` over all but
    the channels, and ``dU = W^T g``; an element of ``X`` gets the sum over its places in ``U``, which makes the
    transposed convolution (Dumoulin & Visin, chapter 4). What falls on the padding is dropped.
    """
    n, c, h, w = x.shape
    k, s, p = layer.kernel, layer.stride, layer.padding
    weight = own["weight"].reshape(layer.outputs, c, k * k).swapaxes(1, 2)
    # Channels before samples, so that U and dU are matrices as they lie in memory, and BLAS needs no copy of them.
    padded = np.zeros((c, n, h + 2 * p, w + 2 * p), x.dtype)
    padded[:, :, p : p + h, p : p + w] = x.swapaxes(0, 1)
    columns = np.stack(places(padded, k, s))

    def inputs(g: Array) -> Array:
        total = np.zeros(padded.shape, x.dtype)
        for place, share in zip(places(total, k, s), np.tensordot(weight, g, axes=(0, 1)), strict=True):
            place += share
        return total[:, :, p : p + h, p : p + w].swapaxes(0, 1)

    def parameters(g: Array) -> Arrays:
        products = np.tensordot(g, columns, axes=((0, 2, 3), (2, 3, 4)))
        return {"weight": products.swapaxes(1, 2).reshape(own["weight"].shape), "bias": g.sum(axis=(0, 2, 3))}

    y = np.tensordot(weight, columns, axes=2).swapaxes(0, 1) + own["bias"][:, None, None]
    return y, Back(inputs, parameters)


def max_pool2d(layer: MaxPool2d, own: Arrays, x: Array, close: float = 0.0) -> tuple[Array, Back]:
    """``y`` is the largest value of each window: ``[n, c, h, w]`` to ``[n, c, oh, ow]``.

    ``dy/dx`` is 1 for the element that was taken and 0 for the others, so that element gets all of ``g``
    (Goodfellow et al., section 9.3; Dumoulin & Visin, chapter 3 for the sizes). Where several elements of a window
    are the largest there is no derivative; by the contract the first one in row-major order gets all of it, as with
    PyTorch, JAX and MindSpore on the CPU. What is no more than ``close`` below the largest could have been
    the largest, had it been rounded otherwise: given such a distance, the last of these gets the gradient instead.
    """
    candidates = places(x, layer.kernel, layer.stride)
    y = reduce(np.maximum, candidates)

    def inputs(g: Array) -> Array:
        total = np.zeros(x.shape, x.dtype)
        open_windows = np.ones(y.shape, dtype=np.bool_)
        pairs = list(zip(places(total, layer.kernel, layer.stride), candidates, strict=True))
        for place, candidate in reversed(pairs) if close else pairs:
            taken = open_windows & (candidate >= y - x.dtype.type(close))
            open_windows &= ~taken
            place += g * taken
        return total

    return y, Back(inputs)


def avg_pool2d(layer: AvgPool2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y`` is the mean of each window: ``[n, c, h, w]`` to ``[n, c, oh, ow]``.

    ``dy/dx = 1 / kernel^2`` for each element of the window; an element in several windows gets the sum, and one in
    none gets 0.
    """

    def inputs(g: Array) -> Array:
        total = np.zeros(x.shape, x.dtype)
        for place in places(total, layer.kernel, layer.stride):
            place += g / layer.kernel**2
        return total

    return reduce(np.add, places(x, layer.kernel, layer.stride)) / layer.kernel**2, Back(inputs)


def relu(layer: ReLU, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = max(x, 0)``, hence ``dx = g`` where ``x > 0`` and 0 elsewhere, at ``x = 0`` by the contract."""
    return np.maximum(x, 0), Back(lambda g: g * (x > 0))


def tanh(layer: Tanh, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = tanh x``, hence ``dx = g (1 - y^2)``."""
    y = np.tanh(x)
    return y, Back(lambda g: g * (1 - y * y))


def places(x: Array, kernel: int, stride: int) -> list[Array]:
    """Return, for each place in a square window in row-major order, what all complete windows have there.

    For ``x`` ``[n, c, h, w]`` this is a list of ``kernel * kernel`` views ``[n, c, oh, ow]``; the one for row ``i`` and
    column ``j`` has ``x[n, c, p * stride + i, q * stride + j]`` at ``[n, c, p, q]``. No element occurs twice in a
    view, so adding to it in place is safe also where windows overlap.
    """
    height, width = (size - kernel + 1 for size in x.shape[2:])
    return [x[:, :, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(kernel, kernel)]


OPERATIONS: dict[type[Layer], Callable[[Any, Arrays, Array], tuple[Array, Back]]] = {
    Flatten: flatten,
    Linear: linear,
    Conv2d: conv2d,
    MaxPool2d: max_pool2d,
    AvgPool2d: avg_pool2d,
    ReLU: relu,
    Tanh: tanh,
}
