"""Two result sets side by side: what is faster, by how much and how surely, and what else is not the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from results import report
from results.report.differences import differences, write
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


def test_a_difference_has_an_interval_and_a_verdict(tmp_path: Path) -> None:
    first, second = (report.read(store_of(tmp_path / name, factor).folder) for name, factor in (("a", 1.0), ("b", 1.5)))
    (found,) = differences(first, second)
    assert found.ratio.low < 1.5 < found.ratio.high
    assert found.ratio.verdict.startswith("1.50x faster")
    assert found.differs == []
    (same,) = differences(first, first)
    assert same.ratio.verdict.startswith("cannot tell")


def test_what_is_not_the_same_is_marked(tmp_path: Path) -> None:
    first = store_of(tmp_path / "a", 1.0)
    second = store_of(tmp_path / "b", 1.0, framework="jax 2.0", threads_asked=8, machine={**MACHINE, "host": "<there>"})
    (found,) = differences(report.read(first.folder), report.read(second.folder))
    assert found.differs == ["versions: jax 1.0 against jax 2.0", "threads: 3 against 8", "the machine"]
    write(report.read(first.folder), report.read(second.folder), tmp_path / "differences.html")
    page = (tmp_path / "differences.html").read_text()
    assert "The machines differ." in page
    assert "&lt;there&gt;" in page
    assert "<there>" not in page


def test_a_cell_that_is_in_one_set_only_is_named(tmp_path: Path) -> None:
    first, second = store_of(tmp_path / "a", 1.0), store_of(tmp_path / "b", 1.0)
    second.append(make_run(9, "e", ("pytorch", "eager"), 1))
    write(report.read(first.folder), report.read(second.folder), tmp_path / "d.html")
    page = (tmp_path / "d.html").read_text()
    assert re.search(r"Only in B</h3><ul><li>e cpu pytorch eager</li>", page)
    assert "Only in A" not in page


def test_runs_that_did_other_work_give_no_figure(tmp_path: Path) -> None:
    first, second = store_of(tmp_path / "a", 1.0), store_of(tmp_path / "b", 1.0, equal_work=False, status="failed")
    (found,) = differences(report.read(first.folder), report.read(second.folder))
    assert found.second == "-"
    assert found.ratio.verdict == "cannot tell (nothing to compare)"
