"""Errors that stand for what rounding does: on sums in proportion to their largest value, on all else to each value."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from backends.float64.arrays import Array

SUM_ROUNDINGS = 4
"""Roundings of its largest value by which the sums in a layer may be off: partial sums are rounded as well."""


def rounded_sum(values: Array, rounding: float) -> Array:
    """Return the values with errors of a few roundings of the largest, up or down, the same way in every step."""
    if not rounding:
        return values
    errors = signs(values.shape) * values.dtype.type(error_of_sums(values, rounding))
    errors += values
    return errors


def error_of_sums(values: Array, rounding: float) -> float:
    """Return the error of a few roundings of the largest value."""
    return SUM_ROUNDINGS * rounding * max(float(values.max()), -float(values.min()))


@lru_cache(maxsize=64)
def signs(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return +1 and -1 in a fixed random order, with the samples last in memory, as layers have it."""
    drawn = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (*shape[1:], shape[0]))
    return np.moveaxis(drawn, -1, 0)


def rounded(values: Array, rounding: float) -> Array:
    """Return the values with a relative error, computed in their own precision; zeros stay zeros."""
    return values * values.dtype.type(1 + rounding) if rounding else values
