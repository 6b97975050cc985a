"""Where workers run, and where others can beside them."""

from __future__ import annotations

import pytest

from benchmarks.machine import processors
from benchmarks.machine.processors import places, processors_for, spread


@pytest.fixture(autouse=True)
def eight_cores_on_two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_allowed", lambda: list(range(8)))
    monkeypatch.setattr(processors, "physical_cores", lambda: list(range(8)))
    monkeypatch.setattr(processors, "_node", lambda processor: "node0" if processor < 4 else "node1")


def test_places_are_those_of_the_workers_and_others_of_the_same_node() -> None:
    assert places(1) == [[7], [4], [5], [6]]
    assert places(2) == [[6, 7], [4, 5]]
    assert places(3) == [[5, 6, 7]], "one core is not enough for three threads"
    assert places(7) == [processors_for(7)]


def test_processes_that_import_at_the_same_time_are_spread() -> None:
    assert [spread(1, place) for place in range(3)] == [[7], [6], [5]]
    assert spread(2, 1) == [4, 5]
    assert spread(8, 1) == list(range(8))
