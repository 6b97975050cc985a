"""Ratios are taken within turns, both levels of noise are in the interval, and verdicts say how sure they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results.statistics import Ratio, compare, compare_all, ratio, throughputs


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Ratio(1.42, 1.38, 1.47), "1.42x faster (1.38 to 1.47)"),
        (Ratio(0.5, 0.4, 0.625), "2.00x slower (1.60 to 2.50)"),
        (Ratio(0.987, 0.978, 0.996), "1.3 % slower (0.4 to 2.2)"),
        (Ratio(1.05, 1.02, 1.08), "5.0 % faster (2.0 to 8.0)"),
        (Ratio(1.01, 0.97, 1.05), "cannot tell (0.97 to 1.05)"),
        (Ratio(3.0, math.nan, math.nan), "3.00x faster *"),
        (Ratio(0.0995, math.nan, math.nan), "10.05x slower *"),
        (Ratio(math.nan, math.nan, math.nan), "cannot tell (nothing to compare)"),
    ],
)
def test_a_verdict_says_how_much_and_how_sure(found: Ratio, words: str) -> None:
    assert found.verdict() == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Ratio(1.42, 1.38, 1.47), "1.4x faster"),
        (Ratio(0.0995, 0.09, 0.11), "10x slower"),
        (Ratio(1750.0, 1700.0, 1800.0), "1,750x faster"),
        (Ratio(0.987, 0.978, 0.996), "1 % slower"),
        (Ratio(1.01, 0.97, 1.05), "cannot tell"),
        (Ratio(3.0, math.nan, math.nan), "3.0x faster *"),
        (Ratio(math.nan, math.nan, math.nan), "cannot tell"),
    ],
)
def test_a_glance_takes_in_a_verdict_without_its_interval(found: Ratio, words: str) -> None:
    assert found.brief() == words


def test_a_single_disturbed_turn_does_not_move_the_ratio() -> None:
    quiet = np.log(np.full((4, 9), 1.2)) + np.random.default_rng(1).normal(0, 1e-3, (4, 9))
    disturbed = quiet.copy()
    disturbed[:, 3] = math.log(50)
    assert ratio(disturbed).value == pytest.approx(1.2, rel=2e-3)
    assert ratio(disturbed).width < 0.01


def test_the_interval_covers_the_truth_as_often_as_it_says_with_noise_at_both_levels() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(1000):
        processes = generator.normal(0, 0.03, (5, 1))
        found = ratio(math.log(1.3) + processes + generator.standard_t(3, (5, 12)) * 0.05)
        covered += found.low <= 1.3 <= found.high
    assert 925 <= covered <= 975


def test_the_interval_is_students_over_the_medians_of_the_rounds() -> None:
    found = ratio(np.array([[0.0, 0.0, 9.0], [0.1, 0.1, -9.0], [0.2, 0.2, 0.2]]))
    reach = 4.302653 * 0.1 / math.sqrt(3)  # the quantile for 2 degrees of freedom in printed tables
    assert [found.low, found.value, found.high] == pytest.approx(np.exp([0.1 - reach, 0.1, 0.1 + reach]))


def test_turns_that_do_not_count_are_left_out() -> None:
    values = np.full((3, 4), math.log(2.0))
    values[0, 0] = values[2, :] = math.nan
    assert ratio(values).value == pytest.approx(2.0)
    assert math.isnan(ratio(np.full((3, 4), math.nan)).value)


def test_runs_that_did_not_take_turns_together_are_in_no_ratio() -> None:
    runs, windows = table_of({("pytorch", "eager"): 100.0, ("jax", "jit"): 200.0}, [1.0, 2.0])
    cut = (runs["backend"] == "jax") & (runs["round"] == 2)
    found = compare(runs.assign(comparison=cut.map({True: "later", False: "first"})), windows)
    assert list(found.loc[found["backend"] == "jax", "rounds"]) == [1]
    assert list(compare(runs, windows).loc[found["backend"] == "jax", "rounds"]) == [2]


def table_of(
    cells: dict[tuple[str, str], float], drift: list[float], changes: dict[str, dict[str, Any]] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and windows of two rounds, whose turns all cells go through at the speed of the machine at that time."""
    runs: list[dict[str, Any]] = []
    windows = []
    for number, ((backend, mode), speed) in enumerate(cells.items()):
        for round_ in (1, 2):
            run = {
                "run": f"s-{number}-{round_}",
                "session": "s",
                "round": round_,
                "comparison": "",
                "experiment": "e",
                "experiment_hash": "h",
                "device": "cpu",
                "threads_asked": 3,
                "threads": 3,
                "replicas": 1,
                "precision": "float32",
                "precision_asked": "float32",
                "backend": backend,
                "mode": mode,
                "status": "ok",
                "equal_work": True,
            }
            runs.append({**run, **(changes or {}).get(f"{backend} {mode}", {})})
            for turn, factor in enumerate(drift):
                noise = 1 + 0.001 * ((number + turn * round_) % 3) + 0.001 * number * round_
                windows.append((run["run"], turn, 100, 100 / speed / factor * noise, True))
    return pd.DataFrame(runs), pd.DataFrame(windows, columns=["run", "turn", "samples", "seconds", "kept"])


def baselines(compared: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(compared["baseline_backend"], compared["baseline_mode"], strict=True))


CELLS = {("jax", "jit"): 300.0, ("pytorch", "eager"): 200.0}


def test_machines_are_never_mixed_in_a_ratio() -> None:
    slow, fast = table_of(CELLS, [1.0, 2.0]), table_of({("jax", "jit"): 900.0, ("pytorch", "eager"): 300.0}, [1.0])
    runs = pd.concat([slow[0].assign(node="a"), fast[0].assign(node="b", run="b-" + fast[0]["run"])])
    windows = pd.concat([slow[1], fast[1].assign(run="b-" + fast[1]["run"])])
    jax = compare(runs, windows).set_index(["node", "backend"])["ratio"].xs("jax", level="backend")
    assert jax["a"] == pytest.approx(1.5, rel=0.01)
    assert jax["b"] == pytest.approx(3.0, rel=0.01)
    assert len(throughputs(runs, windows)) == 4


DRIFT = [1.0, 2.0, 0.5, 1.5, 0.2, 1.0]


def test_drift_that_all_cells_share_cancels() -> None:
    compared = compare(*table_of(CELLS, DRIFT)).set_index("backend")
    assert compared.loc["jax", "ratio"] == pytest.approx(1.5, rel=0.005)
    jax = compared.to_dict("index")["jax"]
    assert jax["high"] - jax["low"] < 0.02
    assert jax["verdict"].startswith("1.50x faster")
    assert compared.loc["pytorch", "verdict"] == "baseline"
    assert baselines(compared) == {("pytorch", "eager")}


def test_another_baseline_can_be_chosen_and_a_missing_one_is_replaced() -> None:
    assert baselines(compare(*table_of(CELLS, DRIFT), baseline=("jax", "jit"))) == {("jax", "jit")}
    assert baselines(compare(*table_of(CELLS, DRIFT), baseline=("mindspore", "graph"))) == {("jax", "jit")}


def test_every_cell_can_be_the_baseline_in_turn() -> None:
    every = compare_all(*table_of(CELLS, DRIFT))
    for baseline in CELLS:
        alone = compare(*table_of(CELLS, DRIFT), baseline=baseline)
        part = every[(every["baseline_backend"] == baseline[0]) & (every["baseline_mode"] == baseline[1])]
        pd.testing.assert_frame_equal(part.reset_index(drop=True), alone)


def test_a_throughput_has_an_interval_too() -> None:
    found = throughputs(*table_of(CELLS, [1.0])).set_index("backend")
    assert found.loc["jax", "samples_per_second"] == pytest.approx(300, rel=0.01)
    assert (found["low"] <= found["samples_per_second"]).all()
    pytorch = found.to_dict("index")["pytorch"]
    assert pytorch["low"] < pytorch["samples_per_second"] < pytorch["high"]


@pytest.mark.parametrize("change", [{"equal_work": False}, {"status": "failed"}])
def test_a_cell_that_did_other_work_is_left_out(change: dict[str, Any]) -> None:
    compared = compare(*table_of(CELLS, DRIFT, {"jax jit": change}))
    assert list(compared["backend"]) == ["pytorch"]


def test_what_differs_in_effective_settings_is_said() -> None:
    compared = compare(*table_of(CELLS, DRIFT, {"jax jit": {"precision": "tf32", "threads": 2}}))
    assert list(compared["note"]) == ["precision tf32 against float32, threads 2 against 3", ""]


def test_threads_are_whole_also_beside_a_run_that_came_to_no_threads() -> None:
    runs, windows = table_of(CELLS, DRIFT, {"jax jit": {"threads": 2}})
    beside = pd.concat([runs, runs[:1].assign(run="s-later", status="interrupted", threads=math.nan)])
    assert list(compare(beside, windows)["note"]) == ["threads 2 against 3", ""]


def test_windows_that_are_not_kept_do_not_count() -> None:
    runs, windows = table_of(CELLS, DRIFT)
    windows.loc[(windows["run"].str.startswith("s-0")) & (windows["turn"] == 2), ["kept", "seconds"]] = [False, 1e-9]
    assert compare(runs, windows).set_index("backend").loc["jax", "ratio"] == pytest.approx(1.5, rel=0.005)
