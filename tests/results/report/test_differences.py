"""Two result sets side by side: what is faster, by how much and how surely, and what else is not the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results import report
from results.report.differences import differences, together, unlike, write
from results.store import Store
from tests.results.made_up import MACHINE, make_run

CELL = ("jax", "jit")


def store_of(folder: Path, factor: float, rounds: int = 4, **changes: Any) -> Store:
    store = Store(folder)
    for round_ in range(1, rounds + 1):
        run = make_run(round_, "e", CELL, round_, **changes)
        run.train_samples_per_second = (run.train_samples_per_second or 0.0) * factor
        store.append(run)
    return store


def found_in(first: Store, second: Store) -> dict[str, Any]:
    """The ratios of the only comparison, by cell of B."""
    ratios = differences(together(report.read(first.folder), report.read(second.folder)))
    return ratios[0]["A"]


def test_a_difference_has_an_interval_and_a_verdict(tmp_path: Path) -> None:
    first, second = (store_of(tmp_path / name, factor) for name, factor in (("a", 1.0), ("b", 1.5)))
    found = found_in(first, second)["B jax jit"]
    assert found["low"] < 1.5 < found["high"]
    assert found["text"].startswith("1.50x faster")
    assert found_in(first, first)["B jax jit"]["text"].startswith("cannot tell")


def test_what_is_not_the_same_is_told_with_its_values(tmp_path: Path) -> None:
    first = store_of(tmp_path / "a", 1.0)
    changes: dict[str, Any] = {"settings": {"threads": 8}, "experiment_json": '{"batch_size": 64, "validation": null}'}
    machine = {**MACHINE, "host": "<there>"}
    second = store_of(tmp_path / "b", 1.0, framework="jax 2.0", threads_asked=8, machine=machine, **changes)
    assert list(unlike(report.read(first.folder).runs, report.read(second.folder).runs)) == [
        ("machine: host", "here", "<there>"),
        ("jax: jax", "1.0", "2.0"),
        ("jax jit: threads", "3", "8"),
        ("e: batch_size", "32", "64"),
        ("asked: threads", "3", "8"),
    ]
    write(report.read(first.folder), report.read(second.folder), tmp_path / "differences.html")
    page = (tmp_path / "differences.html").read_text()
    assert "<td>&lt;there&gt;</td>" in page
    assert "<td><there></td>" not in page


def test_two_sets_of_the_same_have_nothing_that_differs(tmp_path: Path) -> None:
    runs = report.read(store_of(tmp_path / "a", 1.0).folder).runs
    assert list(unlike(runs, runs)) == []


def test_rows_and_curves_of_both_sets_are_kept_apart(tmp_path: Path) -> None:
    both = together(*(report.read(store_of(tmp_path / name, 1.0).folder) for name in ("a", "b")))
    assert list(both.runs["cell"].unique()) == ["A jax jit", "B jax jit"]
    assert set(both.steps["run"]) == set(both.runs["run"])
    assert both.steps["run"].nunique() == 8
    assert set(both.runs["panel"]) == {0}


def test_a_cell_that_is_in_one_set_only_has_no_ratio(tmp_path: Path) -> None:
    first, second = store_of(tmp_path / "a", 1.0), store_of(tmp_path / "b", 1.0)
    second.append(make_run(9, "e", ("pytorch", "eager"), 1))
    assert list(found_in(first, second)) == ["B jax jit"]


def test_runs_that_did_other_work_give_no_figure(tmp_path: Path) -> None:
    first, second = store_of(tmp_path / "a", 1.0), store_of(tmp_path / "b", 1.0, equal_work=False, status="failed")
    assert found_in(first, second)["B jax jit"]["text"] == "cannot tell (nothing to compare)"
