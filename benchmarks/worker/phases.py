"""The phases of a run: every moment of a worker's life belongs to exactly one, so that they add up to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from results.record import Phase


class PhaseClock:
    """Seconds by phase; it begins in "start"."""

    def __init__(self, started: float, before: Mapping[Phase, float] | None = None) -> None:
        """Begin at ``started``, a reading of ``time.perf_counter``; seconds of ``before`` count as well."""
        self.seconds: dict[Phase, float] = {**(before or {})}
        self._phase: Phase = "start"
        self._since = started

    def switch(self, phase: Phase) -> Phase:
        """Enter another phase; return the one that was left."""
        now = time.perf_counter()
        left = self._phase
        self.seconds[left] = self.seconds.get(left, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return left

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """Be in a phase for the length of a ``with`` block, and then in the one before it again."""
        before = self.switch(phase)
        try:
            yield
        finally:
            self.switch(before)
