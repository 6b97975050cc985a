"""A row that contradicts itself is found out; one that does not is left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from results.proof.checks import contradictions
from results.record import Run, Window


@pytest.fixture
def run() -> Run:
    run = Run("s-1", "s", "digits", "torch", "eager", "cpu", 1, 1)
    run.batch_size, run.epochs, run.steps_per_epoch, run.threads_asked = 32, 1, 11, 1
    run.losses = np.linspace(2, 1, 11).astype(np.float32)
    run.window_rows = [
        Window("training", 1, 0.0, 10, 320, 0.02, False),
        Window("training", 1, 0.1, 1, 10, 0.01, False),
        *(Window("timed", turn, turn, 100, 3200, 0.1, True) for turn in range(1, 5)),
        Window("audit", 0, 9.0, 100, 3200, 0.12, False),
    ]
    run.train_samples_per_second = 32_000.0
    run.cpu_per_wall = 1.1
    run.settings = {"affinity": [2]}
    return run


def test_a_sound_row_has_no_contradictions(run: Run) -> None:
    assert contradictions(run, wall_seconds=10, processors=[2]) == []


def test_a_system_that_cannot_tell_the_affinity_is_not_suspected(run: Run) -> None:
    run.settings["affinity"] = None
    assert contradictions(run, wall_seconds=10, processors=[2]) == []


def loss_is_missing(run: Run) -> None:
    run.losses = run.losses[:-1]


def loss_is_infinite(run: Run) -> None:
    run.losses[3] = np.inf


def samples_are_not_steps_times_batch(run: Run) -> None:
    run.window_rows[3].samples += 1


def throughput_is_not_that_of_the_windows(run: Run) -> None:
    run.train_samples_per_second = 33_000.0


def windows_outlast_the_process(run: Run) -> None:
    run.window_rows[0].seconds = 20


def audit_is_slower(run: Run) -> None:
    run.window_rows[-1].seconds = 0.5


def works_on_more_processors(run: Run) -> None:
    run.cpu_per_wall = 2.0


def works_while_it_waits(run: Run) -> None:
    run.waiting_cpu_seconds = 0.5


def is_bound_elsewhere(run: Run) -> None:
    run.settings["affinity"] = [2, 3]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (loss_is_missing, "11 steps planned, 11 trained, 10 losses"),
        (loss_is_infinite, "not all losses are finite"),
        (samples_are_not_steps_times_batch, "100 steps of 32 samples counts 3201"),
        (throughput_is_not_that_of_the_windows, "33000 samples/s from windows of 32000"),
        (windows_outlast_the_process, "in a process that lived for 10 s"),
        (audit_is_slower, "the same work under the audit 0.5 s"),
        (works_on_more_processors, "2.0 processors in use where 1 were asked for"),
        (works_while_it_waits, "0.50 s of processor time while another one had the turn"),
        (is_bound_elsewhere, "bound to the processors [2], it runs on [2, 3]"),
    ],
)
def test_a_contradiction_is_told(run: Run, spoil: Callable[[Run], None], words: str) -> None:
    spoil(run)
    (text,) = contradictions(run, wall_seconds=10, processors=[2])
    assert words in text
