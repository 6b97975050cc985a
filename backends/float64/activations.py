"""The activations: each is a function of one number, whose derivative ``y'`` makes ``dx = g y'``."""

from __future__ import annotations

import math

import numpy as np

from backends.contract import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from backends.float64.arrays import Array, Arrays, Back

CUBIC = 0.044715
"""Of GELU's approximation (Hendrycks & Gimpel, 2016, arXiv:1606.08415, section 2)."""


def relu(layer: ReLU, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = max(x, 0)``, hence ``dx = g`` where ``x > 0`` and 0 elsewhere, at ``x = 0`` by the contract."""
    return np.maximum(x, 0), Back(lambda g: g * (x > 0))


def leaky_relu(layer: LeakyReLU, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = x`` where ``x > 0`` and ``slope x`` elsewhere; at ``x = 0`` the slope counts, by the contract."""
    slope = x.dtype.type(layer.slope)
    return np.where(x > 0, x, slope * x), Back(lambda g: np.where(x > 0, g, slope * g))


def tanh(layer: Tanh, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = tanh x``, hence ``dx = g (1 - y^2)``."""
    y = np.tanh(x)
    return y, Back(lambda g: g * (1 - y * y))


def sigmoid(layer: Sigmoid, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = s(x) = 1 / (1 + exp(-x))``, hence ``dx = g y (1 - y)``."""
    y = _logistic(x)
    return y, Back(lambda g: g * (y * (1 - y)))


def silu(layer: SiLU, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = x s(x)``, hence ``dx = g s (1 + x (1 - s))``."""
    s = _logistic(x)
    return x * s, Back(lambda g: g * (s * (1 + x * (1 - s))))


def softplus(layer: Softplus, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = log(1 + exp x)``, hence ``dx = g s(x)``."""
    return np.logaddexp(x.dtype.type(0), x), Back(lambda g: g * _logistic(x))


def gelu(layer: GELU, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = x Phi(x)``, hence ``dx = g (Phi + x Phi')``.

    ``Phi = (1 + erf(x / sqrt 2)) / 2`` has the density ``exp(-x^2 / 2) / sqrt(2 pi)`` as its derivative; the
    approximation has ``Phi = (1 + tanh u) / 2`` with ``u = sqrt(2 / pi) (x + 0.044715 x^3)``, and the derivative
    ``(1 - tanh^2 u) u' / 2``.
    """
    number = x.dtype.type
    if layer.tanh:
        scale = number(math.sqrt(2 / math.pi))
        t = np.tanh(scale * (x + number(CUBIC) * x**3))
        phi, slope = (1 + t) / 2, (1 - t * t) * scale * (1 + number(3 * CUBIC) * x * x) / 2
    else:
        from scipy.special import erf  # no other layer waits for SciPy

        phi = (1 + erf(x * number(math.sqrt(0.5)))) / 2
        slope = np.exp(-x * x / 2) * number(1 / math.sqrt(2 * math.pi))
    return x * phi, Back(lambda g: g * (phi + x * slope))


def _logistic(x: Array) -> Array:
    """``1 / (1 + exp(-x))``; where ``exp`` overflows this is 0, as it should be."""
    with np.errstate(over="ignore"):
        y: Array = 1 / (1 + np.exp(-x))
    return y
