"""The trials see what is wrong with a way to compare, and the recording that comes with lockstep can be replayed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.calibration.__main__ import RECORDED
from tests.calibration.trials import (
    ORIGINAL,
    PLANTED,
    SLIGHTLY_SLOWER,
    SLOWER,
    TWIN,
    calibrate,
)


def recording(noise_of_a_turn: float, noise_of_a_round: float, bias: float = 0.0) -> pd.DataFrame:
    """Sixteen made-up rounds of twelve turns."""
    generator = np.random.default_rng(3)
    rows = []
    for round_ in range(16):
        for cell in (ORIGINAL, TWIN, SLOWER, SLIGHTLY_SLOWER):
            level = generator.normal(0, noise_of_a_round) - (bias if cell == TWIN else 0.0)
            for turn in range(12):
                speed = np.exp(level + generator.normal(0, noise_of_a_turn)) / (1 + PLANTED.get(cell, 0.0))
                rows.append((cell, round_, turn, 1000 * speed))
    return pd.DataFrame(rows, columns=["cell", "round", "turn", "samples_per_second"])


def test_quiet_timings_are_within_bounds() -> None:
    found = calibrate("quiet", recording(0.01, 0.002))
    assert found.holds, found
    assert found.rounds_until < 20
    assert calibrate("quiet", recording(0.01, 0.002)) == found, "trials can be repeated"


def test_timings_that_are_too_noisy_for_the_default_rounds_are_told() -> None:
    found = calibrate("noisy", recording(0.2, 0.1))
    assert found.left_open > 0.5
    assert found.called_different <= 0.06, "noise makes verdicts rarer, not wrong"


def test_on_a_real_machine_verdicts_are_as_sure_as_they_say() -> None:
    """Of one framework; ``nox -s calibrate -- --replay`` has all three."""
    recorded = pd.read_parquet(RECORDED)
    found = calibrate("jax", recorded[recorded["framework"] == "jax"])
    assert found.holds, found
