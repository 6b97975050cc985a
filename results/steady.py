"""Where the steady part of a series of windows begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEAR = 3.0
"""Standard deviations, estimated from the median absolute deviation, within which a window is like the steady ones."""


def steady_from(seconds_per_step: Sequence[float]) -> int:
    """Return the index of the first window that is like those of the last half; at most half of the series is cut off.

    The last half stands for the steady state, as in the diagnostic of Geweke (1992, "Evaluating the accuracy of
    sampling-based approaches"), but by median and median absolute deviation of the logarithms, so that a disturbed
    window does not count for much. Noise alone cuts off next to nothing.
    """
    values = np.log(np.asarray(seconds_per_step, np.float64))
    half = len(values) // 2
    steady = values[half:]
    centre = np.median(steady)
    # 1.4826 makes it the standard deviation of a normal distribution (Rousseeuw and Croux, 1993).
    deviation = 1.4826 * np.median(np.abs(steady - centre))
    near = np.abs(values[:half] - centre) <= NEAR * deviation
    return int(np.argmax(near)) if near.any() else half
