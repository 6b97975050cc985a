"""The environment variables of a worker, the same for every framework."""

from __future__ import annotations

import os

from backends.contract import THREAD_VARIABLES

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc: what a step frees is not given back to the system, to be asked for again by the next step.

By default that depends on what a process happened to allocate before. 32 MiB is the largest threshold that glibc takes
(mallopt(3)).
"""


NOT_HANDED_ON = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
"""The first three are of another interpreter; with the last one, every import would compile all of a framework anew."""


def worker_environment(threads: int, stock: bool = False) -> dict[str, str]:
    """The environment variables of a worker: the user's own, less Python's, with one number of threads for all.

    Freed memory stays in every process, too, unless the user has set the allocator otherwise, or wants it ``stock``.
    """
    kept = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
    return {**({} if stock else KEEP_FREED_MEMORY), **kept, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
