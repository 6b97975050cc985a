"""Who is compared with whom, and in which order the workers take turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from benchmarks.plan import Cell, comparisons, turn_orders


def cell(experiment: str, backend: str, threads: int = 1) -> Cell:
    materials = cast(Any, SimpleNamespace(label=experiment))
    return Cell(materials, cast(Any, SimpleNamespace(name=backend)), "eager", "cpu", threads, "float32")


def test_cells_are_compared_if_they_share_the_experiment_and_the_threads() -> None:
    cells = [cell("a", "x"), cell("a", "y"), cell("b", "x"), cell("a", "x", 2), cell("b", "y")]
    assert [[c.backend.name for c in group.cells] for group in comparisons(cells)] == [["x", "y"], ["x", "y"], ["x"]]


def test_the_order_of_the_cells_is_reversed_every_other_round() -> None:
    (first,) = comparisons([cell("a", "x"), cell("a", "y"), cell("a", "z")])
    names = ["".join(c.backend.name for c in first.again(round_).cells) for round_ in (1, 2, 3)]
    assert names == ["xyz", "zyx", "xyz"]
    assert [first.again(2).again(round_).cells for round_ in (1, 2)] == [first.again(round_).cells for round_ in (1, 2)]


def test_every_turn_has_every_worker_once_in_an_order_of_its_own_that_can_be_repeated() -> None:
    orders = turn_orders(5, 40, round_=3)
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(map(tuple, orders))) > 20
    assert orders == turn_orders(5, 40, round_=3)
    assert orders != turn_orders(5, 40, round_=4)
    assert {order[0] for order in orders} == {0, 1, 2, 3, 4}, "nobody always comes first"
