"""Numbers as the page takes them: JSON has no NaN and no infinity, and a chart shows few digits."""

from __future__ import annotations

import math
from typing import Any

DIGITS = 5
"""Significant digits of numbers in a chart."""


def short(value: Any) -> Any:
    """A number with no more digits than can be seen in a chart; None for what JSON does not have."""
    if not isinstance(value, float):
        return value
    rounded = float(f"{value:.{DIGITS}g}")
    return rounded if math.isfinite(rounded) else None


def finite(value: Any) -> Any:
    """The same value with None in the place of what JSON does not have, at any depth."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
