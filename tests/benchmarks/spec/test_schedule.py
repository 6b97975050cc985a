"""A schedule gives every step its share of the optimizer's rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.spec.schedule import CosineSchedule, LinearSchedule, StepSchedule

EPOCHS, PER_EPOCH = 5, 2
STEPS = EPOCHS * PER_EPOCH


def factors(schedule: Any) -> list[float]:
    return [round(float(factor), 4) for factor in schedule.factors(STEPS, PER_EPOCH)]


def test_a_cosine_falls_from_one_and_would_reach_its_end_one_step_after_the_last() -> None:
    found = factors(CosineSchedule(name="cosine"))
    assert found[0] == 1
    assert found[5] == 0.5
    assert found[-1] == 0.0245  # as torch's CosineAnnealingLR has it at step 9 of 10
    assert factors(CosineSchedule(name="cosine", final=0.5))[5] == 0.75


def test_a_line_falls_by_the_same_in_every_step() -> None:
    assert factors(LinearSchedule(name="linear")) == [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert factors(LinearSchedule(name="linear", final=0.5))[-1] == 0.55


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 2, "factor": 0.5}, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ({"at": [1, 4], "factor": 0.1}, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_steps_change_the_rate_with_the_first_batch_of_an_epoch(options: dict[str, Any], expected: list[float]) -> None:
    assert factors(StepSchedule(name="step", **options)) == expected


def test_a_warm_up_rises_to_the_rate_and_the_schedule_begins_at_its_end() -> None:
    found = factors(LinearSchedule(name="linear", warm_up=2.0))
    assert found[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert found[5:] == [0.8333, 0.6667, 0.5, 0.3333, 0.1667]
    assert factors(StepSchedule(name="step", every=1, warm_up=1.5)) == [
        0.3333,
        0.6667,
        1,
        1,
        1,
        0.1,
        0.1,
        0.01,
        0.01,
        0.001,
    ]


def test_rates_are_never_negative() -> None:
    for schedule in (CosineSchedule(name="cosine", warm_up=4.0), LinearSchedule(name="linear", warm_up=4.0)):
        assert (np.array(factors(schedule)) > 0).all()
