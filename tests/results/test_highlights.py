"""What is told beside the figures: each rule finds what it is about, and keeps quiet where it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results.highlights import MOST, highlights
from results.store import Store
from tests.results.made_up import fill, make_run

EAGER, JIT = ("pytorch", "eager"), ("jax", "jit")
ROUNDS = (1, 2, 3)


def told(store: Store) -> list[str]:
    return [highlight.text for highlight in highlights(store.runs(), store.windows())]


def session(folder: Path, *cells: tuple[str, tuple[str, str], float, dict[str, Any]]) -> Store:
    """Three rounds of cells: experiment, backend and mode, how many times as fast as it is made up, and changes."""
    store = Store(folder)
    for number, (experiment, cell, factor, changes) in enumerate(cells):
        for round_ in ROUNDS:
            run = make_run(10 * number + round_, experiment, cell, round_, **changes)
            for window in run.window_rows:
                window.seconds /= factor
            store.append(run)
    return store


def test_nothing_is_told_of_two_modes_that_are_the_same(tmp_path: Path) -> None:
    store = session(tmp_path, ("e", EAGER, 1.0, {}), ("e", ("pytorch", "compile"), 1.0, {}))
    assert told(store) == []


def test_each_framework_at_its_best_in_every_experiment(tmp_path: Path) -> None:
    texts = told(fill(tmp_path, experiments=2))
    assert texts[:2] == [
        "at their best, jax against pytorch: 3.0x faster on experiment-0, experiment-1",
        "at their best, mindspore against pytorch: 6 % faster on experiment-0; cannot tell on experiment-1",
    ]


def test_of_many_experiments_their_number_is_told(tmp_path: Path) -> None:
    texts = told(fill(tmp_path, experiments=7, rounds=2))
    assert texts[0].startswith("at their best, jax against pytorch: faster on ")
    assert texts[0].endswith(" of 7 comparisons")


def test_a_mode_that_is_faster_here_and_slower_there(tmp_path: Path) -> None:
    store = session(
        tmp_path, *(("a", cell, 1.0, {}) for cell in (EAGER, JIT)), ("b", EAGER, 3.0, {}), ("b", JIT, 1.0, {})
    )
    assert "it depends: jax jit is 1.5x faster than pytorch eager on a, and 2.0x slower on b" in told(store)


def test_work_that_is_not_equal_comes_first_and_what_failed_next(tmp_path: Path) -> None:
    other: dict[str, Any] = {"status": "not-equivalent", "equal_work": False, "failed_rung": "loss curve"}
    failed: dict[str, Any] = {"status": "failed", "equal_work": None, "phase": "import"}
    store = session(
        tmp_path,
        ("e", EAGER, 1.0, {}),
        ("e", JIT, 1.0, other),
        ("e", ("jax", "scan"), 1.0, failed),
        ("f", JIT, 1.0, failed),
    )
    assert told(store)[:2] == [
        "jax jit did other work on e (rung: loss curve), and is in no ratio",
        "jax scan on e: failed (import); 1 more like it",
    ]


@pytest.mark.parametrize(
    ("factor", "seconds", "text"),
    [
        (0.5, 9.0, "pytorch compile is 2.0x slower than pytorch eager on e: what it compiles is never paid back"),
        (2.0, 9.0, "pytorch compile takes 9.00 s to compile on e, paid back after "),
    ],
)
def test_what_compilation_brings(tmp_path: Path, factor: float, seconds: float, text: str) -> None:
    store = Store(tmp_path)
    for number, (cell, times, first) in enumerate([(EAGER, 1.0, 0.01), (("pytorch", "compile"), factor, seconds)]):
        for round_ in ROUNDS:
            run = make_run(10 * number + round_, "e", cell, round_, first_step_seconds=first)
            run.train_samples_per_second = (run.train_samples_per_second or 0) * times
            for window in run.window_rows:
                window.seconds /= times
            samples = 1280
            run.window_rows.append(_training(samples, first + samples / run.train_samples_per_second))
            store.append(run)
    assert any(sentence.startswith(text) for sentence in told(store)), told(store)


def _training(samples: int, seconds: float) -> Any:
    from results.record import Window

    return Window("training", 1, 0.0, 40, samples, seconds, False)


def test_memory_and_settings_that_differ(tmp_path: Path) -> None:
    more: dict[str, Any] = {"peak_memory_bytes": 900 * 2**20, "threads": 2}
    texts = told(session(tmp_path, ("e", EAGER, 1.0, {}), ("e", JIT, 1.0, more)))
    assert "memory: jax jit takes 900 MiB on e, pytorch eager 300 MiB" in texts
    assert "jax jit ran with other settings than pytorch eager: threads 2 against 3" in texts


def test_curves_that_part_and_noise(tmp_path: Path) -> None:
    parting = {"step": 7, "before": 1e-7, "distance": 1e-4}
    changes: dict[str, Any] = {"parting": parting, "others_per_wall": 1.5}
    texts = told(session(tmp_path, ("e", EAGER, 1.0, {}), ("e", JIT, 1.0, changes)))
    assert any(
        text.startswith("equal work within rounding, but jax jit on e parts from the reference at step 7")
        for text in texts
    )
    assert any(text.startswith("noise: other programs kept up to 1.5 processors busy") for text in texts)


def test_there_are_few(tmp_path: Path) -> None:
    bad: dict[str, Any] = {"others_per_wall": 2.0, "parting": {"step": 7, "before": 1e-7, "distance": 1e-4}}
    other: dict[str, Any] = {"status": "not-equivalent", "equal_work": False, "failed_rung": "loss curve"}
    failed: dict[str, Any] = {"status": "failed", "equal_work": None, "phase": "import"}
    changed: dict[str, Any] = {"threads": 2, "peak_memory_bytes": 900 * 2**20}
    cells = [("a", EAGER, 1.0, bad), ("a", JIT, 1.0, changed), ("b", EAGER, 3.0, {}), ("b", JIT, 1.0, {})]
    cells += [("b", ("jax", "scan"), 1.0, other), ("a", ("jax", "scan"), 1.0, failed)]
    assert len(told(session(tmp_path, *cells))) == MOST
