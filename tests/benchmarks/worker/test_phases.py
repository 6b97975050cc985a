"""Every moment belongs to one phase."""

from __future__ import annotations

import time

import pytest

from benchmarks.worker.phases import PhaseClock


def test_phases_add_up_to_the_time_that_went_by() -> None:
    begin = time.perf_counter()
    clock = PhaseClock(begin)
    time.sleep(0.01)
    clock.switch("bookkeeping")
    with clock.within("train"):
        time.sleep(0.02)
        with clock.within("ladder"):
            time.sleep(0.01)
    clock.switch("waiting")
    end = time.perf_counter()
    assert set(clock.seconds) == {"start", "bookkeeping", "train", "ladder"}
    assert clock.seconds["train"] >= 0.02
    assert sum(clock.seconds.values()) == pytest.approx(end - begin, abs=1e-3)


def test_a_phase_that_is_entered_again_goes_on() -> None:
    clock = PhaseClock(time.perf_counter())
    for _ in range(3):
        with clock.within("timed"):
            time.sleep(0.01)
    assert clock.seconds["timed"] >= 0.03
