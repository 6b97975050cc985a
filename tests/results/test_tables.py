"""Wherever equal work is claimed, it stands there on how many steps it was proved."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console

from results import markdown, report, terminal
from results.report.data import page_data
from results.store import Store
from tests.results.made_up import make_run

EAGER, JIT, SCAN = ("pytorch", "eager"), ("jax", "jit"), ("jax", "scan")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two rounds of two experiments; of the second, a part was judged, and in a continued session less of it."""
    store = Store(tmp_path)
    for number, (experiment, cell, round_) in enumerate(product(("short", "long"), (EAGER, JIT, SCAN), (1, 2))):
        judged = 210 if experiment == "short" else 100 if round_ == 1 else 39
        run = make_run(number, experiment, cell, round_, judged_steps=judged, steps_per_epoch=70)
        if cell == SCAN:
            run.status, run.equal_work, run.failed_rung = "not-equivalent", False, "loss curve"
        store.append(run)
    return store


def test_in_the_terminal_and_in_markdown(store: Store) -> None:
    summary, details = io.StringIO(), io.StringIO()
    terminal.print_session(store, "s", EAGER, Console(file=summary, width=80))
    terminal.print_details(store.runs(), store.windows(), EAGER, Console(file=details, width=80))
    text = markdown.summary(store.runs(), store.windows())
    for told in (details.getvalue(), text):
        assert "short on cpu, 3 threads; equal work on all 210 steps" in told
        assert "long on cpu, 3 threads; equal work on 39 of 210 steps" in told
    for told in (" ".join(summary.getvalue().split()), text):
        assert "equal work proved on all 210 steps of short, 39 of 210 steps of long" in told


def test_in_the_report(store: Store) -> None:
    data = page_data(report.read(store.folder), EAGER)
    work = {(row["experiment"], row["cell"]): row["work"] for row in data["rows"]}
    assert work["short", "jax jit"] == "yes, all 210 steps"
    assert work["long", "pytorch eager"] == "yes, 39 of 210 steps"
    assert work["long", "jax scan"] == "no: loss curve"
    assert [line["proved"] for line in data["lines"]] == ["all 210 steps", "39 of 210 steps"]


def test_rows_that_do_not_say_so_claim_nothing_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(make_run(1, "e", EAGER, 1))
    assert "\n### e on cpu, 3 threads\n" in markdown.summary(store.runs(), store.windows())
    (row,) = page_data(report.read(store.folder), EAGER)["rows"]
    assert row["work"] == "yes"
