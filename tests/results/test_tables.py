"""Wherever equal work is claimed, it stands there on how many steps it was proved."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console

from results import report, tables, terminal
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
    printed = io.StringIO()
    terminal.print_session(store, "s", EAGER, Console(file=printed, width=80))
    markdown = tables.summary_markdown(store.runs(), store.windows())
    for text in (printed.getvalue(), markdown):
        assert "short on cpu, 3 threads; equal work on all 210 steps" in text
        assert "long on cpu, 3 threads; equal work on 39 of 210 steps" in text


def test_in_the_report(store: Store) -> None:
    data = page_data(report.read(store.folder), EAGER)
    work = {(row["experiment"], row["cell"]): row["work"] for row in data["rows"]}
    assert work["short", "jax jit"] == "yes on all 210 steps"
    assert work["long", "pytorch eager"] == "yes on 39 of 210 steps"
    assert work["long", "jax scan"] == "no: loss curve"
    told = [panel["ratios"]["pytorch eager"]["jax jit"]["sentence"] for panel in data["panels"]]
    told += [sentence["sentence"] for panel in data["panels"] for sentence in panel["best"]["pytorch"]]
    for sentence, steps in zip(told, ["all 210 steps", "39 of 210 steps"] * 2, strict=True):
        assert f"same losses within rounding on {steps}" in sentence


def test_rows_that_do_not_say_so_claim_nothing_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(make_run(1, "e", EAGER, 1))
    assert tables.summary_markdown(store.runs(), store.windows()).startswith("### e on cpu, 3 threads\n")
    (row,) = page_data(report.read(store.folder), EAGER)["rows"]
    assert row["work"] == "yes"
