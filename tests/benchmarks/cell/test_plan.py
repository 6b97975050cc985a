"""Who is compared with whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from benchmarks.cell.plan import Cell, comparisons


def cell(experiment: str, backend: str, threads: int = 1, flops: int = 1) -> Cell:
    materials = cast(Any, SimpleNamespace(label=experiment, flops=flops))
    return Cell(materials, cast(Any, SimpleNamespace(name=backend)), "eager", "cpu", threads, "float32")


def test_cells_are_compared_if_they_share_the_experiment_and_the_threads() -> None:
    cells = [cell("a", "x"), cell("a", "y"), cell("b", "x"), cell("a", "x", 2), cell("b", "y")]
    assert [[c.backend.name for c in group.cells] for group in comparisons(cells)] == [["x", "y"], ["x", "y"], ["x"]]


def test_the_least_work_comes_first_so_that_there_is_something_to_see_soon() -> None:
    found = comparisons([cell("large", "x", flops=9), cell("small", "x", flops=2), cell("as small", "x", flops=2)])
    assert [group.materials.label for group in found] == ["small", "as small", "large"]


def test_the_order_of_the_cells_is_reversed_every_other_round() -> None:
    (first,) = comparisons([cell("a", "x"), cell("a", "y"), cell("a", "z")])
    names = ["".join(c.backend.name for c in first.again(round_).cells) for round_ in (1, 2, 3)]
    assert names == ["xyz", "zyx", "xyz"]
    assert [first.again(2).again(round_).cells for round_ in (1, 2)] == [first.again(round_).cells for round_ in (1, 2)]
