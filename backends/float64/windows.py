"""The layers that slide a window over images, and the mean of whole images.

``y`` is a layer's output, ``x`` its input, ``g`` the gradient of the loss with respect to ``y``, and ``dx`` short for
that with respect to ``x``. The sizes are those of Dumoulin & Visin (2016, "A guide to convolution arithmetic for deep
learning", arXiv:1603.07285), chapter 2 for convolutions and 3 for pools.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

import numpy as np

from backends.contract import AvgPool2d, Conv2d, GlobalAvgPool2d, MaxPool2d, Pair
from backends.float64.arrays import Array, Arrays, Back

IN_CACHE = 2**17
"""Values of the windows that a convolution takes apart at a time: they stay in the processor's cache."""


def conv2d(layer: Conv2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """Cross-correlation: ``[n, c, h, w]`` to ``[n, o, oh, ow]``, ``oh = (h + 2 padding - kernel) // stride + 1``.

    ``y[n,o,p,q] = sum_cij W[o,c,i,j] X[n,c,p*stride+i,q*stride+j] + b[o]``, where ``X`` is ``x`` with zeros around
    it (Goodfellow et al., section 9.1), and ``c`` runs over the channels of the group of ``o``. With
    ``U[cij,npq] = X[n,c,p*stride+i,q*stride+j]`` this is a matrix product for each group, ``y = W U + b`` (Chellapilla,
    Puri & Simard, 2006, "High performance convolutional neural networks for document processing"). So, as in
    ``linear``, ``dW = g U^T``, ``db`` is the sum of ``g`` over all but the channels, and ``dU = W^T g``; an element of
    ``X`` gets the sum over its places in ``U``, which makes the transposed convolution (Dumoulin & Visin, chapter 4).
    What falls on the padding is dropped. ``U`` is made for a few samples at a time, and once more on the way back.
    """
    n, c, h, w = x.shape
    (top, left), groups = layer.padding, layer.groups
    weight = own["weight"].reshape(groups, layer.outputs // groups, -1)
    # Channels before samples, so that U and dU are matrices as they lie in memory, and BLAS needs no copy of them.
    padded = np.zeros((c, n, h + 2 * top, w + 2 * left), x.dtype)
    padded[:, :, top : top + h, left : left + w] = x.swapaxes(0, 1)
    y = np.empty((layer.outputs, n, *places(padded, layer.kernel, layer.stride)[0].shape[2:]), x.dtype)
    values = c * math.prod(layer.kernel) * y[0, 0].size

    def taken_apart() -> Iterator[tuple[slice, Array]]:
        for samples in _pieces(n, values):
            windows = places(padded[:, samples], layer.kernel, layer.stride)
            yield samples, np.stack(windows, axis=1).reshape(groups, weight.shape[2], -1)

    def inputs(g: Array) -> Array:
        total = np.zeros(padded.shape, x.dtype)
        for samples in _pieces(n, values):
            there = total[:, samples]
            shares = weight.swapaxes(1, 2) @ _by_group(g, samples, groups)
            shares = shares.reshape(c, -1, there.shape[1], *y.shape[2:])
            for index, place in enumerate(places(there, layer.kernel, layer.stride)):
                place += shares[:, index]
        return total[:, :, top : top + h, left : left + w].swapaxes(0, 1)

    def parameters(g: Array) -> Arrays:
        products = np.zeros(weight.shape, x.dtype)
        for samples, columns in taken_apart():
            products += _by_group(g, samples, groups) @ columns.swapaxes(1, 2)
        gradients = {"weight": products.reshape(own["weight"].shape)}
        return {**gradients, "bias": g.sum(axis=(0, 2, 3))} if layer.bias else gradients

    for samples, columns in taken_apart():
        y[:, samples] = (weight @ columns).reshape(layer.outputs, -1, *y.shape[2:])
    if layer.bias:
        y += own["bias"][:, None, None, None]
    return y.swapaxes(0, 1), Back(inputs, parameters)


def _pieces(samples: int, values: int) -> Iterator[slice]:
    """Cut so many samples, of which each has so many values, into pieces that stay in the cache."""
    size = max(1, IN_CACHE // values)
    return (slice(begin, begin + size) for begin in range(0, samples, size))


def _by_group(g: Array, samples: slice, groups: int) -> Array:
    """A piece of ``g`` ``[n, o, oh, ow]`` as a matrix for each group: ``[groups, o / groups, n * oh * ow]``."""
    piece = g.swapaxes(0, 1)[:, samples]
    return np.ascontiguousarray(piece).reshape(groups, len(piece) // groups, -1)


def max_pool2d(layer: MaxPool2d, own: Arrays, x: Array, close: float = 0.0) -> tuple[Array, Back]:
    """``y`` is the largest value of each window: ``[n, c, h, w]`` to ``[n, c, oh, ow]``.

    ``dy/dx`` is 1 for the element that was taken and 0 for the others, so that element gets all of ``g``
    (Goodfellow et al., section 9.3). Where several elements of a window
    are the largest there is no derivative; by the contract the first one in row-major order gets all of it, as with
    PyTorch, JAX and MindSpore on the CPU. What is no more than ``close`` below the largest could have been
    the largest, had it been rounded otherwise: given such a distance, the last of these gets the gradient instead.
    """
    padded = _padded(x, layer.padding, -np.inf)
    candidates = places(padded, layer.kernel, layer.stride)
    y = reduce(np.maximum, candidates)

    def inputs(g: Array) -> Array:
        total = np.zeros(padded.shape, x.dtype)
        open_windows = np.ones(y.shape, dtype=np.bool_)
        pairs = list(zip(places(total, layer.kernel, layer.stride), candidates, strict=True))
        for place, candidate in reversed(pairs) if close else pairs:
            taken = open_windows & (candidate >= y - x.dtype.type(close))
            open_windows &= ~taken
            place += g * taken
        return _inside(total, layer.padding)

    return y, Back(inputs)


def avg_pool2d(layer: AvgPool2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y`` is the mean of each window, zeros of the padding counted: ``[n, c, h, w]`` to ``[n, c, oh, ow]``.

    ``dy/dx`` is 1 divided by the size of the window for each of its elements; an element in several windows gets the
    sum, and one in none gets 0.
    """
    padded = _padded(x, layer.padding, 0.0)
    size = layer.kernel[0] * layer.kernel[1]

    def inputs(g: Array) -> Array:
        total = np.zeros(padded.shape, x.dtype)
        for place in places(total, layer.kernel, layer.stride):
            place += g / size
        return _inside(total, layer.padding)

    return reduce(np.add, places(padded, layer.kernel, layer.stride)) / size, Back(inputs)


def global_avg_pool2d(layer: GlobalAvgPool2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y`` is the mean of each channel: ``[n, c, h, w]`` to ``[n, c]``; each of its pixels gets the same of ``g``."""
    size = x.shape[2] * x.shape[3]
    shape = x.shape
    return x.mean(axis=(2, 3)), Back(lambda g: np.broadcast_to(g[:, :, None, None] / size, shape))


def places(x: Array, kernel: Pair, stride: Pair) -> list[Array]:
    """Return, for each place in a window in row-major order, what all complete windows have there.

    For ``x`` ``[n, c, h, w]`` this is a list of views ``[n, c, oh, ow]``, one for each place in the window; the one for
    row ``i`` and column ``j`` has ``x[n, c, p * stride + i, q * stride + j]`` at ``[n, c, p, q]``. No element occurs
    twice in a view, so adding to it in place is safe also where windows overlap.
    """
    height, width = (size - side + 1 for size, side in zip(x.shape[2:], kernel, strict=True))
    return [x[:, :, i : i + height : stride[0], j : j + width : stride[1]] for i, j in np.ndindex(*kernel)]


def _padded(x: Array, padding: Pair, value: float) -> Array:
    if padding == (0, 0):
        return x
    (top, left) = padding
    return np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=value)


def _inside(x: Array, padding: Pair) -> Array:
    """Images without what lies on their padding."""
    return x[:, :, padding[0] : x.shape[2] - padding[0], padding[1] : x.shape[3] - padding[1]]
