"""What a session prints while it runs."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.session import progress
from benchmarks.session.progress import TerminalProgress
from results.store import Store
from tests.results.made_up import fill


def test_in_a_pipe_a_line_comes_whenever_nothing_was_printed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.1)
    console = Console(file=io.StringIO(), width=80)
    with TerminalProgress(console) as shown:
        shown.doing("compiling")
        time.sleep(0.5)
        shown.message("done")
    time.sleep(0.3)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert 2 <= lines.count("compiling") <= 6
    assert lines[-1] == "done", "nothing more comes at the end"


def test_what_is_left_is_the_rest_of_the_budget_at_least() -> None:
    console = Console(file=io.StringIO(), width=80)
    shown = TerminalProgress(console)
    shown.deadline = time.perf_counter() + 100
    shown.doing("compiling")
    assert "about 1 min 40 s left" in shown._now


def test_after_one_round_there_are_ratios_without_intervals(tmp_path: Path) -> None:
    fill(tmp_path, experiments=1)
    console = Console(file=io.StringIO(), width=80)
    TerminalProgress(console).preliminary(Store(tmp_path), "s", "experiment-0", ("pytorch", "eager"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.startswith("preliminary, one round: experiment-0 on cpu, 3 threads, training speed against pytorch ")
    assert "jax jit 1.5x faster, " in text
    assert "test accuracy" in text
