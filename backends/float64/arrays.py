"""The arrays of all of it: in the canonical layouts of ``backends.contract`` and, labels excepted, all float64.

Given float32, the same functions compute in float32 throughout, which shows what rounding alone does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = dict[str, Array]
