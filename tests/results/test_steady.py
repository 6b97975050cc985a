"""The steady part of a series of windows is found; noise without a trend is left alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from results.steady import steady_from


def test_a_slow_beginning_is_cut_off() -> None:
    noise = np.random.default_rng(1).normal(1, 0.02, 16)
    assert steady_from([9.0, 3.0, 1.5, *noise]) == 3


def test_a_series_that_is_steady_from_the_beginning_is_kept_whole() -> None:
    assert steady_from([1.0] * 12) == 0


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40))
def test_at_most_half_is_cut_off(seconds: list[float]) -> None:
    assert 0 <= steady_from(seconds) <= len(seconds) / 2


def test_noise_alone_cuts_off_next_to_nothing() -> None:
    generator = np.random.default_rng(2)
    cuts = [steady_from(list(np.exp(generator.standard_t(3, 16) * 0.05))) for _ in range(500)]
    assert np.mean(cuts) < 0.5
