"""The memory that workers may take."""

from __future__ import annotations

import psutil

WORKER_BYTES = 400 * 2**20
"""What a waiting worker takes at most on the experiments that come with lockstep, most of it shared with its host."""

SHARE = 0.5
"""Of the memory that is available."""


def workers_that_fit() -> int:
    """How many workers may be there at the same time."""
    return int(SHARE * psutil.virtual_memory().available / WORKER_BYTES)
