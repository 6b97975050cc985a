"""A part of a plan on a machine: one at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from benchmarks.cluster.part import alone
from tests.benchmarks.cluster.helpers import wait_until


def test_a_machine_runs_one_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with alone(told.append):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(told.append):
        thread.start()
        wait_until(lambda: told)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting" in told[0]
