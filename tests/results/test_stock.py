"""Stock runs are never compared with tuned ones, and everything that is made of them says which they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from results import markdown, report
from results.report.differences import differences, together
from results.statistics import compare
from results.store import Store
from tests.results.made_up import make_run

CELLS = (("pytorch", "eager"), ("jax", "jit"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three rounds of two cells, tuned and stock, in the same turns; stock ones are half as fast."""
    store = Store(tmp_path / "both")
    for round_ in (1, 2, 3):
        for stock in (False, True):
            for cell in CELLS:
                run = make_run(round_ + 10 * stock + 100 * CELLS.index(cell), "e", cell, round_, stock=stock)
                for window in run.window_rows:
                    window.seconds *= 1 + stock
                store.append(run)
    return store


def test_every_ratio_is_against_a_baseline_of_the_same_kind(store: Store) -> None:
    compared = compare(store.runs(), store.windows())
    assert list(compared["stock"]) == [False, False, True, True]
    assert list(compared["verdict"] == "baseline") == [True, False, True, False]
    jax = compared[compared["backend"] == "jax"]
    assert list(jax["ratio"]) == pytest.approx([1.5, 1.5], rel=0.03), "half as fast as each other, not as the tuned"


def test_a_table_older_than_the_column_was_tuned(store: Store) -> None:
    runs = store.runs()
    older = runs[~runs["stock"]].drop(columns="stock")
    assert set(compare(older, store.windows())["stock"]) == {False}


def test_a_store_older_than_the_column_was_tuned() -> None:
    assert not Store(Path(__file__).parents[2] / "results" / "reference").runs()["stock"].any()


def test_titles_and_labels_say_stock(store: Store) -> None:
    text = markdown.summary(store.runs(), store.windows())
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### e on cpu, 3 threads",
        "### e on cpu, 3 threads, stock",
    ]
    results = report.read(store.folder)
    assert results.labels == ["e on cpu, 3 threads, float32", "e on cpu, 3 threads, stock, float32"]
    assert results.titles == ["e", "e stock"]


def test_two_result_sets_side_by_side_keep_them_apart(store: Store, tmp_path: Path) -> None:
    tuned, stock = Store(tmp_path / "tuned"), Store(tmp_path / "stock")
    tuned.append(make_run(1, "e", CELLS[0], 1))
    stock.append(make_run(1, "e", CELLS[0], 1, stock=True))
    found = differences(together(report.read(tuned.folder), report.read(store.folder)))
    assert [list(by["A"]) for by in found.values()] == [["B pytorch eager"]]
    assert differences(together(report.read(tuned.folder), report.read(stock.folder))) == {}
