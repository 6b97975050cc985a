"""The arrays of all of it: in the canonical layouts of ``backends.contract`` and, labels excepted, all float64.

Given float32, the same functions compute in float32 throughout, which shows what rounding alone does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = dict[str, Array]
"""The arrays of all of it, or of one layer, by name."""


@dataclass(frozen=True)
class Back:
    """The way back through one layer: from the gradient of the loss with respect to its output to ..."""

    inputs: Callable[[Array], Array]
    """... the one with respect to its input,"""

    parameters: Callable[[Array], Arrays] = lambda g: {}
    """... those with respect to its parameters, by the names "weight" and "bias"."""

    statistics: Arrays = field(default_factory=dict)
    """The running statistics after this step, by their names in the layer, if it has some."""
