"""Scaling over replicas: speed-up over one in the same round, efficiency, and intervals over rounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import markdown, report
from results.record import Run
from results.report.page import render
from results.scaling import scaling, scaling_texts
from results.statistics import compare
from results.store import Store
from tests.results.made_up import make_run

JIT = ("jax", "jit")


def runs_of(rates: Mapping[int, list[float]], folder: Path | None = None, **changes: Any) -> pd.DataFrame:
    """Runs of one cell with so many replicas, a throughput for each round."""
    made: list[Run] = []
    for replicas, of_round in rates.items():
        for round_, rate in enumerate(of_round, start=1):
            run = make_run(len(made) + 1, "e", JIT, round_, epochs=1)
            run.replicas, run.sweep_point, run.train_samples_per_second = replicas, f"replicas={replicas}", rate
            run.experiment_hash = f"hash of {replicas}"
            run.experiment_json = json.dumps({"batch_size": 32, "replicas": replicas})
            for name, value in changes.items():
                setattr(run, name, value)
            made.append(run)
    if folder:
        Store(folder).append(*made)
        return Store(folder).runs()
    return pd.DataFrame([{**vars(run), "excluded": ""} for run in made])


@settings(deadline=None)  # of a machine that others use
@given(st.floats(0.01, 8), st.floats(1, 1e6), st.integers(2, 64), st.lists(st.floats(0.5, 2), min_size=2, max_size=6))
def test_drift_between_rounds_cancels(speed_up: float, rate: float, replicas: int, drift: list[float]) -> None:
    ones = [rate * factor for factor in drift]
    (row,) = scaling(runs_of({1: ones, replicas: [one * speed_up for one in ones]})).to_dict("records")
    assert (row["replicas"], row["rounds"]) == (replicas, len(drift))
    assert row["low"] == pytest.approx(speed_up)
    assert row["speed_up"] == pytest.approx(speed_up)
    assert row["high"] == pytest.approx(speed_up)


def test_scaling_below_one_is_shown_as_it_is_with_its_interval() -> None:
    runs = runs_of({1: [100, 100, 100], 2: [50, 40, 45], 3: [310, 290, 300]})
    below, above = scaling_texts(runs).to_dict("records")
    assert below["experiment"] == "e on cpu, 3 threads"
    assert (below["backend and mode"], below["replicas"]) == ("jax jit", "2")
    assert below["speed-up over one"] == "0.45x (0.34 to 0.59)"
    assert below["efficiency"] == "22.4 % (17.0 to 29.6)"
    assert above["efficiency"] == "100.0 % (92.0 to 108.6)"


def test_one_round_has_no_interval() -> None:
    (row,) = scaling_texts(runs_of({1: [100], 2: [150]})).to_dict("records")
    assert row["efficiency"] == "75.0 % *"


@pytest.mark.parametrize(
    "runs",
    [
        runs_of({1: [100, 100]}),
        runs_of({2: [100, 100]}),
        runs_of({1: [100], 2: [100]}, status="failed"),
        runs_of({1: [100], 2: [100]}, equal_work=False),
    ],
    ids=["only one replica", "nothing to compare with", "failed", "other work"],
)
def test_what_cannot_be_said_is_not(runs: pd.DataFrame) -> None:
    assert scaling(runs).empty


def test_other_experiments_and_sessions_are_not_compared() -> None:
    one, two = runs_of({1: [100]}), runs_of({2: [100]})
    for column in ("session", "device", "threads_asked", "mode"):
        assert scaling(pd.concat([one.assign(**{column: 1}), two.assign(**{column: 2})])).empty
    other = two.assign(experiment_json=json.dumps({"batch_size": 64, "replicas": 2}))
    assert scaling(pd.concat([one, other])).empty


def test_rows_with_different_replicas_are_in_no_ratio(tmp_path: Path) -> None:
    runs = runs_of({1: [100, 100], 2: [100, 100]}, tmp_path, experiment_hash="the same")
    compared = compare(runs, Store(tmp_path).windows())
    assert list(compared["replicas"]) == [1, 2]
    assert set(compared["verdict"]) == {"baseline"}


def test_page_and_markdown_show_it(tmp_path: Path) -> None:
    runs_of({1: [100, 100, 100], 2: [50, 40, 45]}, tmp_path)
    results = report.read(tmp_path)
    assert results.labels[1].endswith("on cpu, 3 threads, 2 replicas, float32")
    for shown in (render(results), markdown.summary(results.runs, results.windows)):
        assert "Scaling over replicas" in shown
        assert "0.45x (0.34 to 0.59)" in shown


def test_a_store_older_than_replicas_has_one_everywhere() -> None:
    runs = Store(Path(__file__).parents[2] / "results" / "reference").runs()
    assert set(runs["replicas"]) == {1}
