"""The time that a bench will take, judged by what the same cells took before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.session.estimate import CellKey, estimate
from results.store import Store
from tests.results.made_up import make_run

JIT: CellKey = ("hash of e", "jax", "jit", 3, False)
SCAN: CellKey = ("hash of e", "jax", "scan", 3, False)
STOCK_JIT: CellKey = ("hash of e", "jax", "jit", 3, True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs of 20 s of their own, one of them with a judgement of 5 s, and one that failed at once."""
    store = Store(tmp_path)
    times: dict[str, Any] = {"wall_seconds": 50.0, "waiting_seconds": 30.0}
    store.append(make_run(1, "e", ("jax", "jit"), 1, judge_seconds=5.0, **times))
    store.append(make_run(2, "e", ("jax", "jit"), 2, **times))
    store.append(make_run(3, "e", ("jax", "jit"), 3, status="failed", wall_seconds=0.1, waiting_seconds=0.0))
    return store


def test_a_run_costs_its_own_time_and_the_reference_trains_once(store: Store) -> None:
    assert estimate(store.runs(), [JIT] * 3) == "about 1 min 05 s, judged by earlier runs of the same configurations"


def test_a_new_cell_counts_as_the_mean_of_the_others(store: Store) -> None:
    assert estimate(store.runs(), [JIT, SCAN, SCAN]).startswith("about 1 min 05 s")
    assert "(new configurations, 1 of them" in estimate(store.runs(), [JIT, SCAN, SCAN])


def test_a_stock_run_is_not_judged_by_tuned_ones(store: Store) -> None:
    assert "no estimate" in estimate(store.runs(), [STOCK_JIT])
    stock: dict[str, Any] = {"wall_seconds": 110.0, "waiting_seconds": 10.0, "stock": True}
    store.append(make_run(4, "e", ("jax", "jit"), 1, **stock))
    assert estimate(store.runs(), [STOCK_JIT]).startswith("about 1 min 45 s")
    assert estimate(store.runs(), [JIT]).startswith("about 25 s")


def test_without_earlier_runs_there_is_no_estimate(store: Store) -> None:
    assert "no estimate" in estimate(store.runs(), [SCAN])
    assert "no estimate" in estimate(Store(store.folder / "empty").runs(), [JIT])
