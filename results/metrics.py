"""What is reported of a run: each metric is declared here once, and every table, chart and page follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Metric:
    """A column of the table of runs, and how people read it."""

    column: str
    label: str
    unit: str
    better: Literal["higher", "lower", ""]
    """Which direction is better; empty if neither is."""
    form: str
    """Format specification of a value, with the unit in it where it is "%"."""
    meaning: str
    scale: float = 1.0
    """What a value of the column is multiplied with to be in ``unit``."""

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def written(self, value: Any) -> str:
        """A value of the column as people read it, without its unit; a dash where nothing was measured."""
        return "-" if pd.isna(value) else f"{value * self.scale:{self.form}}"


THROUGHPUT = Metric(
    "train_samples_per_second",
    "throughput",
    "samples/s",
    "higher",
    ",.0f",
    "training in steady state: full batches, without the first step and evaluation",
)
TEST_ACCURACY = Metric(
    "test_accuracy",
    "test accuracy",
    "",
    "higher",
    ".1%",
    "share of the test set whose largest output is the right class, after the last epoch",
)
TEST_LOSS = Metric("test_loss", "test loss", "", "lower", ".4g", "mean over the test set, after the last epoch")
TIME_TO_ACCURACY = Metric(
    "seconds_to_target",
    "time to accuracy",
    "s",
    "lower",
    ".2f",
    "training until the first epoch that reached the target of --target-accuracy, compilation included",
)
FIRST_STEP = Metric(
    "first_step_seconds", "first step", "s", "lower", ".2f", "the first training step, with compilation"
)
PEAK_MEMORY = Metric(
    "peak_memory_bytes", "peak memory", "MiB", "lower", ",.0f", "largest resident size of the process", 2**-20
)
SHARE_OF_PEAK = Metric(
    "share_of_peak",
    "share of peak",
    "",
    "higher",
    ".1%",
    "counted operations per second, of what the fastest square product in the same session reached",
)

WEIGHT_ERROR = Metric(
    "weight_error",
    "weight error",
    "",
    "lower",
    ".2g",
    "of a line's learned weights, the largest distance from the true ones",
)
BIAS_ERROR = Metric(
    "bias_error", "bias error", "", "lower", ".2g", "distance of a line's learned bias from the true one"
)

TRAIN_SAMPLES = Metric("train_samples", "training samples", "", "", ",.0f", "samples that are trained on in an epoch")
TEST_SAMPLES = Metric("test_samples", "test samples", "", "", ",.0f", "samples that test accuracy and test loss are of")

METRICS = (
    THROUGHPUT,
    TEST_ACCURACY,
    TEST_LOSS,
    TIME_TO_ACCURACY,
    FIRST_STEP,
    PEAK_MEMORY,
    SHARE_OF_PEAK,
    WEIGHT_ERROR,
    BIAS_ERROR,
    TRAIN_SAMPLES,
    TEST_SAMPLES,
)

PAID_BACK = Metric(
    "paid_back",
    "paid back after",
    "",
    "lower",
    "",
    "epochs of training that save what a mode costs once more, such as compilation, than the mode of its framework "
    "that starts cheapest: cold, and where the compiler had kept its work",
)
"""Of a configuration, not of a run: ``payback.paid_back`` writes it."""


def markdown() -> str:
    """The metrics as a table for documents."""
    lines = ["| metric | unit | better | meaning | column |", "|---|---|---|---|---|"]
    lines += [f"| {m.label} | {m.unit} | {m.better} | {m.meaning} | `{m.column}` |" for m in METRICS]
    return "\n".join(lines)
