"""What processes take: the time of windows, and processor time, at work and at rest."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import psutil

GRACE_SECONDS = 0.1
"""After ``synchronize``; a pool of threads may spin for a moment before it sleeps."""

WATCHED_SECONDS = 0.25
"""How long an idle process is watched: processor time is counted in steps of 0.01 s."""

WATCHES = 3
"""Times that a busy process is watched again before it counts as busy."""

LARGEST_IDLE_SHARE = 0.1
"""Of one core."""

LARGEST_WAIT = 0.3
"""Of a window, that ``parameters`` may still wait for after ``synchronize``."""

SMALLEST_RATIO = 1.5
"""Of the times of 2N and of N steps; 2 without overhead and noise."""

SEVERAL = 1.3
"""Processors or threads from which on it is more than one: the one that asks the others works a little itself."""


@dataclass
class Timing:
    """The best of several rounds, in seconds: windows of N and 2N steps, and what is left after a window."""

    steps: int
    window: float
    double_window: float
    wait: float
    """Seconds that ``parameters`` takes longer right after a window than when asked again."""

    @property
    def ratio(self) -> float:
        """How many times longer twice the steps take."""
        return self.double_window / self.window

    @property
    def wait_share(self) -> float:
        """How much of a window's work is waited for after it."""
        return max(0.0, self.wait / (self.window + self.wait))

    @property
    def waits(self) -> bool:
        """Whether ``synchronize`` returns when the work is done, and not before."""
        return self.ratio >= SMALLEST_RATIO and self.wait_share <= LARGEST_WAIT


@dataclass(frozen=True)
class Threads:
    """What ``describe`` says of threads, and what training took while products were large."""

    given: int
    """Processors."""
    reported: int | None
    busy: float
    """Processors that were kept busy, at most: on a machine with other work, fewer than there are threads."""
    spread: float
    """Processor time of all threads over that of the one that had most, which no other work changes."""

    @property
    def are_told(self) -> bool:
        """Whether what is said can be true."""
        if self.reported is None:
            return True
        return self.busy <= SEVERAL if self.reported == 1 else self.spread >= SEVERAL and self.reported <= self.given


def thread_seconds(pid: int) -> dict[tuple[int, int], float]:
    """Processor time of each thread of a process and all its descendants so far, user and system."""
    parent = psutil.Process(pid)
    return {
        (process.pid, thread.id): thread.user_time + thread.system_time
        for process in (parent, *parent.children(recursive=True))
        for thread in process.threads()
    }


def busy_share(pid: int) -> float:
    """Watch a process that has nothing to do."""
    smallest = np.inf
    for _ in range(WATCHES):
        time.sleep(GRACE_SECONDS)
        before, begin = _processor_seconds(pid), time.perf_counter()
        time.sleep(WATCHED_SECONDS)
        smallest = min(smallest, (_processor_seconds(pid) - before) / (time.perf_counter() - begin))
        if smallest <= LARGEST_IDLE_SHARE:
            break
    return float(smallest)


def _processor_seconds(pid: int) -> float:
    """Processor time of a process and all its descendants so far, user and system."""
    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))
