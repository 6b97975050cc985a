"""How what was measured stands in the tables of backends/MEANINGS.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_THERE = "-"
"""What stands where a framework has no such word."""

NOT_TRIED = "not tried"
"""What stands where trying may end the process, as a kernel of MindSpore that fails while others are under way can."""

ULPS = (10, 100, 10_000)
"""Bounds of errors: the errors themselves depend on what the processor can do."""

IMAGE = np.arange(16, dtype=np.float32).reshape(4, 4)
FROM_MINUS_10_TO_10 = np.linspace(-10, 10, 20_001, dtype=np.float32)
LOGITS = np.array([[1, 2, 4], [3, 1, 0]], np.float32)
SMALLEST_NORMAL = np.float32(2.0**-126)


def number(value: Any, digits: int = 4) -> str:
    """A number to so many digits; NaN is written as in prose."""
    value = float(value) + 0.0  # not -0
    return "NaN" if np.isnan(value) else f"{value:.{digits}g}"


def numbers(values: Any) -> str:
    """Several of them."""
    return ", ".join(number(value) for value in np.ravel(values))


def outcome(measure: Callable[[], str]) -> str:
    """What comes of it, or the error that it raises."""
    try:
        return measure()
    except Exception as error:
        return f"raises {type(error).__name__}"


def first_or_shared(gradient: Any) -> str:
    """Which of equal elements of a window of 2 x 2 the gradient of their maximum goes to."""
    shares = np.ravel(gradient).tolist()
    return {(1.0, 0.0, 0.0, 0.0): "first", (0.25, 0.25, 0.25, 0.25): "shared"}.get(tuple(shares), str(shares))


def formula_of_gelu(of_three: Any) -> str:
    """Which formula gives this for 3: 2.9960 is exact, 2.9964 the approximation by tanh."""
    return {"2.996": "erf", "2.9964": "tanh"}[number(of_three, 5)]


def side_with_more(of_same: Any) -> str:
    """Where "same" pads more, from the convolution of IMAGE with stride 2 by a kernel whose first element alone is 1.

    With the row and the column of padding at the bottom and at the right, the output begins with the first pixel of
    the image; it is number 0, and the next to the right in the output is number 2.
    """
    return "bottom, right" if np.ravel(of_same)[:2].tolist() == [0, 2] else "top, left"


def class_taken(loss: Any) -> str:
    """Which class of the second row of LOGITS has this cross-entropy."""
    row = LOGITS[1].astype(np.float64)
    losses = np.log(np.exp(row).sum()) - row
    return ("first class", "second class", "last class")[int(np.argmin(np.abs(losses - float(loss))))]


def largest_error(values: Any, exact: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> str:
    """A bound of the error of a function on FROM_MINUS_10_TO_10, in units of the last place of float32."""
    right = exact(FROM_MINUS_10_TO_10.astype(np.float64))
    error = np.max(np.abs(np.asarray(values) - right) / np.spacing(np.abs(right).astype(np.float32)))
    return next(f"under {bound} ulp" for bound in ULPS if error < bound)


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def tell(*tables: dict[str, str]) -> None:
    """Print all cells of a framework's column as one object."""
    print(json.dumps({row: cell for table in tables for row, cell in table.items()}))
