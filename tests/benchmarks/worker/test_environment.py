"""The variables of a worker are the same for every framework, and a stock one has none that tune."""

from __future__ import annotations

import pytest

from backends.contract import THREAD_VARIABLES
from benchmarks.worker.environment import worker_environment

TUNING = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "ONEDNN_MAX_CPU_ISA", "OMP_PROC_BIND")


@pytest.fixture(autouse=True)
def untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TUNING:
        monkeypatch.delenv(name, raising=False)


def test_a_worker_keeps_the_memory_that_it_frees() -> None:
    tuned = worker_environment(2)
    assert {name: tuned[name] for name in TUNING if name in tuned} == {
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
    }


def test_a_stock_worker_has_the_threads_and_no_tuning() -> None:
    stock = worker_environment(2, stock=True)
    assert not set(TUNING) & set(stock)
    assert {stock[name] for name in THREAD_VARIABLES} == {"2"}


@pytest.mark.parametrize("stock", [False, True])
def test_what_the_user_has_set_counts(monkeypatch: pytest.MonkeyPatch, stock: bool) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert worker_environment(2, stock)["MALLOC_TRIM_THRESHOLD_"] == "1"
