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
    What falls on the padding is dropped.

    Images lie in memory with the samples last: whatever a window takes apart is then in pieces as long as the batch.
    ``U`` is made for a few rows at a time, and once more on the way back.
    """
    n, c, h, w = x.shape
    (top, left), groups = layer.padding, layer.groups
    weight = own["weight"].reshape(groups, layer.outputs // groups, -1)
    padded = np.zeros((c, h + 2 * top, w + 2 * left, n), x.dtype)
    padded[:, top : top + h, left : left + w] = x.transpose(1, 2, 3, 0)
    rows, columns = places(padded.transpose(3, 0, 1, 2), layer.kernel, layer.stride)[0].shape[2:]
    height = max(1, IN_CACHE // (c * math.prod(layer.kernel) * columns * n))

    def bands(images: Array) -> Iterator[tuple[slice, list[Array]]]:
        """Bands of rows of the output, and for each place in a window what the windows of a band have there."""
        for begin in range(0, rows, height):
            band = slice(begin, min(begin + height, rows))
            there = images[:, band.start * layer.stride[0] : (band.stop - 1) * layer.stride[0] + layer.kernel[0]]
            views = places(there.transpose(3, 0, 1, 2), layer.kernel, layer.stride)
            yield band, [view.transpose(1, 2, 3, 0) for view in views]

    def taken_apart(views: list[Array]) -> Array:
        return np.stack(views, axis=1).reshape(groups, weight.shape[2], -1)

    def inputs(g: Array) -> Array:
        total, g = np.zeros(padded.shape, x.dtype), _samples_last(g)
        for band, views in bands(total):
            shares = weight.swapaxes(1, 2) @ _by_group(g[:, band], groups)
            shares = shares.reshape(c, -1, *views[0].shape[1:])
            for index, view in enumerate(views):
                view += shares[:, index]
        return total[:, top : top + h, left : left + w].transpose(3, 0, 1, 2)

    def parameters(g: Array) -> Arrays:
        products, by_channel = np.zeros(weight.shape, x.dtype), _samples_last(g)
        for band, views in bands(padded):
            products += _by_group(by_channel[:, band], groups) @ taken_apart(views).swapaxes(1, 2)
        gradients = {"weight": products.reshape(own["weight"].shape)}
        return {**gradients, "bias": g.sum(axis=(0, 2, 3))} if layer.bias else gradients

    y = np.empty((layer.outputs, rows, columns, n), x.dtype)
    for band, views in bands(padded):
        y[:, band] = (weight @ taken_apart(views)).reshape(layer.outputs, -1, columns, n)
    if layer.bias:
        y += own["bias"][:, None, None, None]
    return y.transpose(3, 0, 1, 2), Back(inputs, parameters)


def _samples_last(g: Array) -> Array:
    """``[n, o, oh, ow]`` as it lies in memory, or copied to ``[o, oh, ow, n]``."""
    return np.ascontiguousarray(g.transpose(1, 2, 3, 0))


def _by_group(band: Array, groups: int) -> Array:
    """A band ``[o, rows, ow, n]`` as a matrix for each group: ``[groups, o / groups, rows * ow * n]``."""
    return band.reshape(groups, len(band) // groups, -1)


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
        total = np.zeros_like(padded)
        open_windows = np.ones_like(y, dtype=np.bool_)
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
        total = np.zeros_like(padded)
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
    n, c, h, w = x.shape
    padded = np.full((c, h + 2 * padding[0], w + 2 * padding[1], n), value, x.dtype).transpose(3, 0, 1, 2)
    _inside(padded, padding)[...] = x
    return padded


def _inside(x: Array, padding: Pair) -> Array:
    """Images without what lies on their padding."""
    return x[:, :, padding[0] : x.shape[2] - padding[0], padding[1] : x.shape[3] - padding[1]]
