"""The processors that lockstep may use, and those that it gives to its workers."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.errors import InputError


def physical_cores() -> list[int]:
    """One processor number for each physical core that this process may use."""
    cores: dict[str, int] = {}
    for processor in _allowed():
        siblings = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else str(processor), processor)
    return sorted(cores.values())


def processor_count() -> int:
    """The processors that this process may use."""
    return len(_allowed())


def default_threads() -> int:
    """One thread for each physical core but one, which is left to the parent process and to the system.

    Without a free core, every wait of a framework's threads for each other is at the mercy of what else has to run.
    """
    return max(1, len(physical_cores()) - 1)


def processors_for(threads: int) -> list[int]:
    """The processors that workers with this many threads are bound to: different physical cores first, the last ones.

    The first core is the busiest with the system's own work. Raises InputError if there are not so many.
    """
    allowed, cores = _allowed(), physical_cores()
    if threads > len(allowed):
        raise InputError(
            f"threads: {threads} are asked for, and this machine lets lockstep use {len(allowed)} processors; ask for "
            "at most that"
        )
    others = [processor for processor in allowed if processor not in cores]
    return sorted((cores[::-1] + others)[:threads])


def spread(threads: int, place: int) -> list[int]:
    """So many processors, other ones for every place from 0: for processes that work at the same time.

    Those of one place may be those of another if there are not so many.
    """
    allowed, cores = _allowed(), physical_cores()
    order = cores[::-1] + [processor for processor in allowed if processor not in cores]
    return sorted({order[(place * threads + number) % len(order)] for number in range(threads)})


def places(threads: int) -> list[list[int]]:
    """Sets of so many processors that share none and are on one memory node: those of the workers, and others beside.

    The first is ``processors_for(threads)``. What a process touches on another node would be far away afterwards.
    """
    home = processors_for(threads)
    node = _node(home[0])
    others = [core for core in physical_cores() if core not in home and _node(core) == node]
    return [home, *(others[i : i + threads] for i in range(0, len(others) - threads + 1, threads))]


def _node(processor: int) -> str:
    """Name of the memory node of a processor; empty where the system does not tell."""
    found = Path(f"/sys/devices/system/cpu/cpu{processor}").glob("node[0-9]*")
    return next((path.name for path in found), "")


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
