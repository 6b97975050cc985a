"""A metric is declared once, and documents follow it."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest

from results.metrics import METRICS, PEAK_MEMORY, TEST_ACCURACY, THROUGHPUT, markdown
from results.record import Run


def test_the_guide_has_every_metric_as_it_is_declared() -> None:
    assert markdown() in (Path(__file__).parents[2] / "results" / "READING.md").read_text()


def test_every_metric_is_a_column_of_the_table() -> None:
    assert {metric.column for metric in METRICS} <= {field.name for field in fields(Run)}


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (THROUGHPUT, 12345.6, "12,346"),
        (TEST_ACCURACY, 0.5, "50.0%"),
        (PEAK_MEMORY, 2.0**30, "1,024"),
        (THROUGHPUT, None, "-"),
        (THROUGHPUT, math.nan, "-"),
    ],
)
def test_values_are_written_in_their_unit(metric, value: float | None, text: str) -> None:
    assert metric.written(value) == text
