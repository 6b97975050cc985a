"""Compilation is paid back by the epochs after which a mode has saved what it costs more than the cheapest to start."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from results import markdown, terminal
from results.payback import paid_back
from results.record import Window
from results.store import Store
from tests.results.made_up import make_run

EAGER, COMPILE = ("pytorch", "eager"), ("pytorch", "compile")
SAMPLES = 1000
"""Of an epoch; there are three."""


def store_of(folder: Path, rates: dict[tuple[str, str], float], costs: dict[tuple[str, str], list[float]]) -> Store:
    """A round for each cost in seconds: training has it once, and is steady for the rest of its epochs."""
    store = Store(folder)
    number = 0
    for cell, of_rounds in costs.items():
        for round_, cost in enumerate(of_rounds, start=1):
            number += 1
            cache = ("cold" if round_ == 1 else "warm") if cell == COMPILE else ""
            run = make_run(number, "e", cell, round_, train_samples_per_second=rates[cell], compiler_cache=cache)
            seconds = SAMPLES / rates[cell]
            once = [seconds + cost, seconds, seconds]
            run.window_rows = [Window("training", turn, 0.0, 10, SAMPLES, once[turn - 1], False) for turn in (1, 2, 3)]
            slightly = 1 + 1e-6 * number
            run.window_rows += [Window("timed", turn, 0.0, 10, SAMPLES, seconds * slightly, True) for turn in (1, 2)]
            store.append(run)
    return store


def row_of(store: Store, mode: str, **changes: Any) -> dict[Any, Any]:
    found = paid_back(store.runs().assign(**changes), store.windows())
    return found[found["mode"] == mode].to_dict("records")[0]


FAST, SLOW = 200.0, 100.0  # an epoch takes 5 s or 10 s: each saves 5 s


def test_it_is_what_starting_costs_more_over_what_an_epoch_saves_cold_and_warm(tmp_path: Path) -> None:
    costs = {EAGER: [1.0, 1.0, 1.0], COMPILE: [59.0, 13.0, 15.0]}  # 58 s more, 13 s where it had kept its work
    store = store_of(tmp_path, {EAGER: SLOW, COMPILE: FAST}, costs)
    row = row_of(store, "compile")
    assert (row["cheapest"], row["epochs"], row["epochs_warm"]) == ("eager", 12, 3)
    assert row["paid_back"] == "12 epochs (3 if compiled before)"
    assert row_of(store, "eager")["paid_back"] == "-"


def test_what_is_slower_never_pays_it_back(tmp_path: Path) -> None:
    store = store_of(tmp_path, {EAGER: FAST, COMPILE: SLOW}, {EAGER: [1.0, 1.0], COMPILE: [9.0, 2.0]})
    row = row_of(store, "compile")
    assert math.isinf(row["epochs"])
    assert row["paid_back"] == "never"


def test_where_nobody_can_tell_which_is_faster_nobody_can_tell_this(tmp_path: Path) -> None:
    store = store_of(tmp_path, {EAGER: FAST, COMPILE: FAST}, {EAGER: [1.0, 1.0], COMPILE: [9.0, 2.0]})
    windows = store.windows()
    noisy = windows["run"].isin(["s-00001", "s-00004"]) & windows["kind"].eq("timed")
    windows.loc[noisy, "seconds"] *= 1.1
    found = paid_back(store.runs(), windows).set_index("mode")
    assert found.loc["compile", "paid_back"] == "cannot tell"


def test_a_framework_that_compiles_in_every_mode_has_its_own_cheapest_by_all_that_is_not_steady(tmp_path: Path) -> None:
    costs = {("jax", "scan"): [11.0, 11.0], ("jax", "jit"): [1.0, 1.0], EAGER: [0.0, 0.0]}
    store = store_of(tmp_path, {("jax", "scan"): FAST, ("jax", "jit"): SLOW, EAGER: SLOW}, costs)
    row = row_of(store, "scan", first_step_seconds=0.5)
    assert (row["cheapest"], row["paid_back"]) == ("jit", "2 epochs"), "nothing is kept, so nothing is warm"
    assert row_of(store, "jit")["paid_back"] == "-"


def test_what_costs_no_more_owes_nothing_and_one_epoch_is_one(tmp_path: Path) -> None:
    store = store_of(tmp_path, {EAGER: SLOW, COMPILE: FAST}, {EAGER: [2.0, 2.0], COMPILE: [6.0, 1.0]})
    assert row_of(store, "compile")["paid_back"] == "1 epoch (0 if compiled before)"


@pytest.mark.parametrize("change", [{"equal_work": False}, {"status": "failed"}])
def test_runs_that_do_not_count_pay_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    store = store_of(tmp_path, {EAGER: SLOW}, {EAGER: [1.0, 1.0]})
    assert paid_back(store.runs().assign(**change), store.windows()).empty


def test_terminal_and_markdown_say_it(tmp_path: Path) -> None:
    costs = {EAGER: [1.0, 1.0, 1.0], COMPILE: [59.0, 13.0, 15.0]}
    store = store_of(tmp_path, {EAGER: SLOW, COMPILE: FAST}, costs)
    printed = io.StringIO()
    terminal.print_details(store.runs(), store.windows(), EAGER, Console(file=printed, width=80))
    assert "\n  pytorch compile  12 epochs (3 if compiled before), against eager\n" in printed.getvalue()
    text = markdown.summary(store.runs(), store.windows())
    assert "| 12 epochs (3 if compiled before) " in text
