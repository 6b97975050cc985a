"""What else the machine does while workers are timed, and the settings of its processors that move timings."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Noise:
    """What disturbed the workers; None where the system does not tell."""

    others_per_wall: float
    stolen_per_wall: float | None
    throttled: int | None


class NoiseWatch:
    """Measures what disturbs over a stretch of time, beside the workers and this process themselves."""

    def __init__(self, own_seconds: float) -> None:
        """Begin; ``own_seconds`` is the processor time of the workers so far."""
        self._begin = self._read(own_seconds)
        self._throttled = throttle_count()

    def end(self, own_seconds: float) -> Noise:
        """Return the processors that other programs used and those that were stolen, and new throttlings."""
        wall, busy, stolen = (b - a for a, b in zip(self._begin, self._read(own_seconds), strict=True))
        throttled = throttle_count()
        return Noise(
            others_per_wall=max(0.0, busy / wall),
            stolen_per_wall=stolen / wall if hasattr(psutil.cpu_times(), "steal") else None,
            throttled=None if throttled is None or self._throttled is None else throttled - self._throttled,
        )

    @staticmethod
    def _read(own_seconds: float) -> tuple[float, float, float]:
        """Wall time, processor time of everything but lockstep, and stolen time."""
        times = psutil.cpu_times()
        stolen = getattr(times, "steal", 0.0)
        # Time of guests is part of user time, too; nobody worked in idle time, and stolen time is nobody's here.
        apart = ("idle", "iowait", "steal", "guest", "guest_nice")
        worked = sum(times) - sum(getattr(times, name, 0.0) for name in apart)
        mine = os.times()
        return time.perf_counter(), worked - mine.user - mine.system - own_seconds, stolen


def processor_settings() -> dict[str, Any]:
    """Frequency governors in use, whether the processor may boost, and how often it has throttled; as far as known."""
    governors = set(_texts(CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")))
    boost = [*_texts([CPU / "cpufreq" / "boost"])]
    return {
        "governors": sorted(governors),
        "boost": boost[0] == "1" if boost else None,
    }


def throttle_count() -> int | None:
    """How often the cores have been throttled for heat since the machine was started; None where it does not tell."""
    counts = [int(text) for text in _texts(CPU.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))]
    return sum(counts) if counts else None


def _texts(paths: Iterable[Path]) -> Iterable[str]:
    return [path.read_text().strip() for path in paths if path.exists()]
