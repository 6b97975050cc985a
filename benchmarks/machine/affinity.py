"""Places of threads: while windows are timed, each working thread of a worker has a processor of its own.

A process is bound to as many processors as it has threads, but which thread runs where is left to the system, and a
process can be unlucky for as long as it lives: two threads that wait for each other share a processor, or one keeps
leaving the cache that holds its part of the model. Frameworks have settings against that (``OMP_PROC_BIND``), but not
all of them; done from outside, it is the same for all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

import psutil


def thread_seconds(pid: int) -> dict[int, float]:
    """Processor time of each thread of a process, in ticks of 0.01 s."""
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}


def bind_busiest(pid: int, before: dict[int, float], processors: Sequence[int]) -> int:
    """Give a processor each to the threads that have worked most since ``before``; return how many were bound.

    In the order in which they were made: the same thread of every process of a framework gets the same processor, the
    main thread the first one. The other threads, which have worked less, may still run on all of ``processors``.
    """
    if not hasattr(os, "sched_setaffinity"):
        return 0
    worked = {thread: seconds - before.get(thread, 0.0) for thread, seconds in thread_seconds(pid).items()}
    busiest = sorted((thread for thread in worked if worked[thread] > 0), key=lambda thread: -worked[thread])
    bound = sorted(busiest[: len(processors)])
    for thread, processor in zip(bound, processors, strict=False):
        _place(thread, [processor])
    return len(bound)


def allowed(pid: int) -> set[int]:
    """The processors that any thread of a process may run on; empty where the system has no such notion."""
    found: set[int] = set()
    if hasattr(os, "sched_getaffinity"):
        for thread in thread_seconds(pid):
            with suppress(ProcessLookupError):
                found |= os.sched_getaffinity(thread)
    return found


def release(pid: int, processors: Sequence[int]) -> None:
    """Let every thread run on all of ``processors`` again: new threads inherit the places of those that make them."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            for thread in thread_seconds(pid):
                _place(thread, processors)


def _place(thread: int, processors: Sequence[int]) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.sched_setaffinity(thread, processors)
