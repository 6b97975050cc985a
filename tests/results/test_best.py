"""A framework at its best is its fastest mode, which is chosen on other rounds than those that give its figure."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from results import markdown, terminal
from results.best import at_their_best, best, choices
from results.statistics import compare, ratio
from tests.results.made_up import fill, make_run

PYTORCH = ("pytorch", "eager")


def logs_of(*rounds_of_modes: list[float]) -> NDArray[np.float64]:
    """Log throughputs of modes, the same in all four turns of a round."""
    return np.repeat(np.array(rounds_of_modes)[:, :, np.newaxis], 4, axis=2)


def test_a_round_does_not_choose_by_itself() -> None:
    lucky_in_the_second = logs_of([0.0, 0.0, 0.0], [-0.1, 0.9, -0.1])
    chosen, fastest = choices(lucky_in_the_second)
    assert list(chosen) == [1, 0, 1]
    assert fastest == 1


def test_where_all_rounds_choose_the_same_it_is_the_ratio_of_these_modes() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, (3, 5, 4))
    ours, theirs = noise[:2] + np.array([[[0.0]], [[1.0]]]), noise[2:]
    assert at_their_best(ours, theirs) == ratio(ours[1] - theirs[0])


def test_where_rounds_choose_otherwise_the_interval_reaches_over_both_ways_to_choose() -> None:
    ours, theirs = logs_of([0.0, 0.01, 0.02], [-0.1, 0.9, -0.1]), logs_of([0.0, 0.0, 0.0])
    others, overall = ratio(logs_of([-0.1, 0.01, -0.1])[0]), ratio(ours[1])
    found = at_their_best(ours, theirs)
    assert found.value == others.value
    assert (found.low, found.high) == (min(others.low, overall.low), max(others.high, overall.high))


def test_a_mode_that_ran_only_while_the_machine_was_fast_is_not_the_fastest_for_that() -> None:
    nan = math.nan
    ours = logs_of([3.1, 3.1, 0.1, 0.1], [3.0, 3.0, nan, nan])
    assert list(choices(ours[::-1])[0]) == [1, 1, 1, 1]
    assert at_their_best(ours, logs_of([3.0, 3.0, 0.0, 0.0])).value == pytest.approx(math.exp(0.1))


def test_a_round_without_the_chosen_mode_does_not_count() -> None:
    ours = logs_of([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, math.nan])
    assert at_their_best(ours, logs_of([0.0, 0.0, 0.0, 9.0])).value == pytest.approx(math.e)


def test_one_round_has_no_interval() -> None:
    found = at_their_best(logs_of([0.0], [1.0]), logs_of([0.0]))
    assert found.value == pytest.approx(math.e)
    assert found.verdict().endswith("faster *")


def test_every_framework_but_the_baselines_has_a_row(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    runs = store.runs()
    one_mode = runs[runs["mode"] != "compile"]
    jax, mindspore = best(one_mode, store.windows()).to_dict("records")
    assert (jax["backend"], jax["mode"], jax["baseline_backend"], jax["baseline_mode"]) == ("jax", "scan", *PYTORCH)
    assert (mindspore["backend"], mindspore["mode"]) == ("mindspore", "graph")
    scan = compare(one_mode, store.windows()).set_index("mode").to_dict("index")["scan"]
    assert [jax["low"], jax["high"]] == pytest.approx([scan["low"], scan["high"]])


def test_a_baseline_that_is_not_there_is_replaced_by_the_first(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    found = best(store.runs(), store.windows(), ("tensorflow", "eager"))
    assert set(found["baseline_backend"]) == {"jax"}
    assert list(found["backend"]) == ["mindspore", "pytorch"]


def test_modes_that_rounds_choose_in_turn_are_both_named(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1, rounds=0)
    speeds = {("pytorch", "eager"): (1.0, 1.0, 1.0), ("jax", "jit"): (1.0, 1.0, 1.0), ("jax", "scan"): (0.9, 2.0, 0.9)}
    for number, (cell, of_rounds) in enumerate(speeds.items()):
        for round_, speed in enumerate(of_rounds):
            run = make_run(10 * number + round_, "e", cell, round_)
            for window in run.window_rows:
                window.seconds = 1 / speed
            store.append(run)
    (row,) = best(store.runs(), store.windows()).to_dict("records")
    assert row["mode"] == "scan or jit"


def test_terminal_and_markdown_say_it_in_the_width_of_a_terminal(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    printed = io.StringIO()
    terminal.print_details(store.runs(), store.windows(), PYTORCH, Console(file=printed, width=80))
    assert "Each at its best, mode chosen on other rounds, than pytorch" in printed.getvalue()
    assert "\n  jax scan         3.0" in printed.getvalue()
    assert max(map(len, printed.getvalue().splitlines())) <= 80
    assert "Each at its best, mode chosen on other rounds:\n\n| backend and mode" in markdown.summary(
        store.runs(), store.windows()
    )
