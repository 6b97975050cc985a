"""Which cells get one more round: those whose ratios are not known well enough, and their baselines."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from benchmarks.session.rounds import UNTIL_MARGIN, is_narrow, noisiest_first, not_narrow
from results.statistics import Ratio


def around(value: float, width: float) -> Ratio:
    return Ratio(value, value * (1 - width / 2), value * (1 + width / 2))


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
            "verdict": "baseline" if backend == "base" else found.verdict(),
        }
        for backend, found, error in cells
    ]
    return pd.DataFrame(rows)


ONE = around(1, 0)


def test_with_a_width_all_whose_intervals_are_wider_go_on_with_their_baseline() -> None:
    table = compared(("base", ONE, 0.0), ("wide", around(0.2, 0.1), 0.001), ("narrow", around(0.2, 0.01), 0.5))
    assert not_narrow(table, 0.02) == {("h", 1, "base", "eager"), ("h", 1, "wide", "eager")}


def test_what_the_turns_leave_most_open_comes_first_and_what_is_clear_does_not_count() -> None:
    quiet = compared(("base", ONE, 0.0), ("near", ONE, 0.001), ("far", around(5.0, 0), 0.9))
    noisy = compared(("base", ONE, 0.0), ("near", ONE, 0.05)).assign(experiment_hash="n")
    clear = compared(("base", ONE, 0.0), ("far", around(0.2, 0), 0.9)).assign(experiment_hash="c")
    assert noisiest_first(pd.concat([quiet, clear, noisy])) == [("n", 1), ("h", 1)]
