"""The search's table says what was measured, and its variants can be started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.hosting import environments
from tests.handwritten.__main__ import FRAMEWORKS
from tests.handwritten.search.__main__ import CLOCKS, Found, cell, groups, keep, restored


@pytest.fixture
def found() -> Found:
    """A mode and a variant in two rounds, by the processor's clock and by another that is half as fast."""
    clocks = np.array([1.0, 0.5])
    turns = np.array([[10.0], [20.0], [np.nan]]) * clocks
    rates = {"mode": {"1": turns, "2": turns}, "slow": {"1": turns / 10, "2": turns / 10}, "new": {"2": 1.2 * turns}}
    return Found(rates, {"mode": 1.0, "slow": 2.0, "new": 3.0}, {"broken": "no such | thing"})


def test_ratios_are_to_the_fastest_mode_of_the_same_processes(found: Found) -> None:
    modes = ["slow", "mode"]
    assert cell(found, "mode", modes, 0) == "**1**; 1.0 s"
    assert cell(found, "slow", modes, 0) == "0.100 (0.10 to 0.10); 2.0 s"
    assert [cell(found, "new", modes, clock) for clock in range(len(CLOCKS))] == 2 * ["1.200; 3.0 s"]
    assert cell(found, "broken", modes, 0) == "no such / thing"
    assert cell(found, "other", modes, 0) == "not measured"


def test_what_is_kept_is_found_again(found: Found, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    keep({"digits-mlp": found}, path)
    again = restored(path)["digits-mlp"]
    assert (again.first, again.refused) == (found.first, found.refused)
    np.testing.assert_equal(again.rates, found.rates)
    assert not restored(tmp_path / "none.json")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_file_of_variants_is_a_backend_and_all_of_them_have_a_turn(framework: str) -> None:
    modes = list(environments.read(Path(__file__).with_name(f"{framework}_variants.py")).modes)
    parts = groups(modes, np.random.default_rng(0))
    assert sorted(name for part in parts for name in part) == sorted(modes)
