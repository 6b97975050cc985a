"""The layers that slide a window over images, and the mean of whole images.

``y`` is a layer's output, ``x`` its input, ``g`` the gradient of the loss with respect to ``y``, and ``dx`` short for
that with respect to ``x``. The sizes are those of Dumoulin & Visin (2016, "A guide to convolution arithmetic for deep
learning", arXiv:1603.07285), chapter 2 for convolutions and 3 for pools.
"""

from __future__ import annotations

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
    _, c, h, w = x.shape
    (top, left), groups = layer.padding, layer.groups
    weight = own["weight"].reshape(groups, layer.outputs // groups, c // groups, *layer.kernel)
    padded = _with_zeros(x.transpose(1, 2, 3, 0), layer.padding)
    y = _correlation(padded, weight, layer.stride)

    def inputs(g: Array) -> Array:
        rest = (layer.kernel[0] - 1 - top, layer.kernel[1] - 1 - left)
        if layer.stride == (1, 1) and min(rest) >= 0:
            # The sum over the places of an element in windows is a correlation with the kernel turned round.
            turned = weight[..., ::-1, ::-1].swapaxes(1, 2)
            return _correlation(_with_zeros(_samples_last(g), rest), turned, layer.stride).transpose(3, 0, 1, 2)
        total, by_channel = np.zeros_like(padded), _samples_last(g)
        matrices = _as_matrices(weight).swapaxes(1, 2)
        for band, views in _bands(total, layer.kernel, layer.stride):
            shares = (matrices @ _by_group(by_channel[:, band], groups)).reshape(c, -1, *views[0].shape[1:])
            for index, view in enumerate(views):
                view += shares[:, index]
        return total[:, top : top + h, left : left + w].transpose(3, 0, 1, 2)

    def parameters(g: Array) -> Arrays:
        products, by_channel = np.zeros_like(_as_matrices(weight)), _samples_last(g)
        for band, views in _bands(padded, layer.kernel, layer.stride):
            products += _by_group(by_channel[:, band], groups) @ _taken_apart(views, groups).swapaxes(1, 2)
        gradients = {"weight": products.reshape(own["weight"].shape)}
        return {**gradients, "bias": g.sum(axis=(0, 2, 3))} if layer.bias else gradients

    if layer.bias:
        y += own["bias"][:, None, None, None]
    return y.transpose(3, 0, 1, 2), Back(inputs, parameters)


def _correlation(padded: Array, weight: Array, stride: Pair) -> Array:
    """``padded`` ``[c, h, w, n]`` with ``weight`` ``[groups, o / groups, c / groups, kernel]``: ``[o, oh, ow, n]``."""
    groups, outputs, _, *kernel = weight.shape
    rows, columns = ((side - k) // s + 1 for side, k, s in zip(padded.shape[1:3], kernel, stride, strict=True))
    y = np.empty((groups * outputs, rows, columns, padded.shape[3]), padded.dtype)
    by_group, pixels = y.reshape(groups, outputs, -1), columns * padded.shape[3]
    matrices = _as_matrices(weight)
    for band, views in _bands(padded, (kernel[0], kernel[1]), stride):
        np.matmul(matrices, _taken_apart(views, groups), out=by_group[..., band.start * pixels : band.stop * pixels])
    return y


def _bands(images: Array, kernel: Pair, stride: Pair) -> Iterator[tuple[slice, list[Array]]]:
    """Bands of rows of the output, and for each place in a window what the windows of a band have there."""
    views = [view.transpose(1, 2, 3, 0) for view in places(images.transpose(3, 0, 1, 2), kernel, stride)]
    channels, rows, columns, samples = views[0].shape
    height = max(1, IN_CACHE // (channels * len(views) * columns * samples))
    for begin in range(0, rows, height):
        band = slice(begin, min(begin + height, rows))
        yield band, [view[:, band] for view in views]


def _taken_apart(views: list[Array], groups: int) -> Array:
    """What windows have at each of their places, as a matrix for each group of channels."""
    stacked = np.stack(views, axis=1)
    return stacked.reshape(groups, len(stacked) // groups * len(views), -1)


def _as_matrices(weight: Array) -> Array:
    return weight.reshape(*weight.shape[:2], -1)


def _with_zeros(images: Array, padding: Pair) -> Array:
    """Images ``[c, h, w, n]`` with zeros around them."""
    c, h, w, n = images.shape
    padded = np.zeros((c, h + 2 * padding[0], w + 2 * padding[1], n), images.dtype)
    padded[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w] = images
    return padded


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
