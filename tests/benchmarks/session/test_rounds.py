"""Which cells get one more round: those whose ratios are not known well enough, and their baselines."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from benchmarks.session.rounds import UNTIL_MARGIN, going_on, is_narrow, is_noisy
from benchmarks.session.turns import SURE_ENOUGH
from results.statistics import Ratio


def around(value: float, width: float) -> Ratio:
    return Ratio(value, value * (1 - width / 2), value * (1 + width / 2))


@pytest.mark.parametrize("value", [0.9, 1.0, 1.2])
def test_a_ratio_near_one_is_noisy_if_its_turns_are(value: float) -> None:
    assert is_noisy(math.log(value), SURE_ENOUGH * 1.01)
    assert not is_noisy(math.log(value), SURE_ENOUGH * 0.99)


@pytest.mark.parametrize("value", [0.3, 4.0])
def test_a_ratio_far_from_one_is_known_however_noisy_its_turns_are(value: float) -> None:
    assert not is_noisy(math.log(value), 0.5)


@pytest.mark.parametrize("value", [0.3, 1.0, 4.0])
def test_a_width_that_is_asked_for_counts_for_every_ratio_with_a_margin(value: float) -> None:
    assert is_narrow(around(value, 0.02 * UNTIL_MARGIN * 0.99), until=0.02)
    assert not is_narrow(around(value, 0.02 * UNTIL_MARGIN * 1.01), until=0.02)


def test_one_round_has_no_interval_so_that_a_second_is_needed() -> None:
    assert not is_narrow(Ratio(1.0, math.nan, math.nan), until=0.5)


def compared(*cells: tuple[str, Ratio, float]) -> pd.DataFrame:
    rows = [
        {
            "experiment_hash": "h",
            "threads_asked": 1,
            "backend": backend,
            "mode": "eager",
            "baseline_backend": "base",
            "baseline_mode": "eager",
            "ratio": found.value,
            "low": found.low,
            "high": found.high,
            "turns_error": error,
            "verdict": "baseline" if backend == "base" else found.verdict,
        }
        for backend, found, error in cells
    ]
    return pd.DataFrame(rows)


ONE = around(1, 0)


def test_who_is_not_known_goes_on_with_its_baseline_and_the_others_do_not() -> None:
    table = compared(("base", ONE, 0.0), ("noisy", ONE, 0.05), ("quiet", ONE, 0.001), ("slow", around(0.2, 0), 0.05))
    assert going_on(table, None) == {("h", 1, "base", "eager"), ("h", 1, "noisy", "eager")}


def test_rounds_that_are_far_apart_are_no_reason_to_go_on() -> None:
    assert going_on(compared(("base", ONE, 0.0), ("lucky", around(1, 0.5), 0.001)), None) == set()


def test_with_a_width_all_whose_intervals_are_wider_go_on() -> None:
    table = compared(("base", ONE, 0.0), ("wide", around(0.2, 0.1), 0.001), ("narrow", around(0.2, 0.01), 0.5))
    assert going_on(table, 0.02) == {("h", 1, "base", "eager"), ("h", 1, "wide", "eager")}
