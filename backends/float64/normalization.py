"""Batch normalization."""

from __future__ import annotations

import numpy as np

from backends.contract import BatchNorm
from backends.float64.arrays import Array, Arrays, Back
from backends.float64.rounding import signs


def batch_norm(
    layer: BatchNorm, own: Arrays, x: Array, training: bool = True, rounding: float = 0.0
) -> tuple[Array, Back]:
    """``y = z w + b`` with ``z = (x - mean) / sqrt(var + epsilon)``, for each channel: ``[n, c, ...]`` as it comes.

    With ``N`` numbers in a channel, mean and var are ``sum x / N`` and ``sum (x - mean)^2 / N``; both depend on every
    ``x``, and so the chain rule gives ``dx = w / sqrt(var + epsilon) (g - sum g / N - z sum (g z) / N)``,
    ``dw = sum (g z)`` and ``db = sum g`` (Ioffe & Szegedy, 2015, arXiv:1502.03167, section 3). Unless ``training``, the
    running statistics take their place. With a ``rounding``, both are off by it, numbers are added one after the other,
    and var is ``sum x^2 / N - mean^2``, as in libraries that read ``x`` once: the same but for rounding.
    """
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *(1 for _ in axes[1:]))
    count = x.size // x.shape[1]
    if training:
        if rounding:
            mean = _added_one_by_one(x) / count
            var = np.maximum(_added_one_by_one(x * x) / count - mean * mean, 0)
            errors = signs(mean.shape) * x.dtype.type(rounding)
            mean, var = mean + errors * np.abs(x).mean(axis=axes), var * (1 + errors)
        else:
            mean = x.mean(axis=axes)
            var = ((x - mean.reshape(shape)) ** 2).mean(axis=axes)
    else:
        mean, var = own["running_mean"], own["running_var"]
    inverse = 1 / np.sqrt(var + x.dtype.type(layer.epsilon))
    z = (x - mean.reshape(shape)) * inverse.reshape(shape)

    def parameters(g: Array) -> Arrays:
        return {"weight": (g * z).sum(axis=axes), "bias": g.sum(axis=axes)}

    def inputs(g: Array) -> Array:
        own_gradients = parameters(g)
        by_mean, by_var = (own_gradients[name].reshape(shape) / count for name in ("bias", "weight"))
        rest = g - by_mean - z * by_var if training else g
        dx: Array = rest * (own["weight"] * inverse).reshape(shape)
        return dx

    moved = {"running_mean": mean, "running_var": var * x.dtype.type(count / max(count - 1, 1))}
    share = x.dtype.type(layer.momentum)
    statistics = {name: (1 - share) * own[name] + share * new for name, new in moved.items()} if training else {}
    return z * own["weight"].reshape(shape) + own["bias"].reshape(shape), Back(inputs, parameters, statistics)


def _added_one_by_one(x: Array) -> Array:
    """The sum of each channel as the least exact of libraries has it (``losses.mean`` says why)."""
    by_channel = np.moveaxis(x, 0, -1).reshape(x.shape[1], -1)
    total: Array = np.cumsum(by_channel, axis=1)[:, -1]
    return total
