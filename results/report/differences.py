"""Two result sets side by side: the same cells on two machines, at two dates, or with two versions of a framework.

Nothing is interleaved between two result sets, so drift does not cancel: the interval of a difference is Welch's, over
the rounds of both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from results import metrics
from results.report.page import template
from results.report.panels import Results
from results.statistics import CONFIDENCE, Ratio
from results.tables import told_stock, write_text

CELL = ["experiment", "sweep_point", "device", "backend", "mode", "stock", "node"]
"""What makes a cell of one set the counterpart of one of the other; stock is never set against tuned."""

SAME = {
    "experiment_hash": "the experiment",
    "data_hash": "the data",
    "backend_hash": "the backend's file",
    "framework": "versions",
    "threads_asked": "threads",
    "replicas": "replicas",
    "precision_asked": "precision",
}
"""Columns that should be the same, and what they are called where they are not."""


@dataclass(frozen=True)
class Difference:
    """One cell in both sets."""

    cell: str
    first: str
    second: str
    ratio: Ratio
    """Throughput of the second in units of the first's."""
    accuracies: tuple[str, str]
    differs: list[str]
    """What else is not the same."""


def write(first: Results, second: Results, path: Path) -> None:
    """Write the page; raises StoreError if it cannot be written."""
    found = list(differences(first, second))
    machines = [[_machine(machine) for machine in results.runs["machine"]] for results in (first, second)]
    known = [set(_cells(results.runs)) for results in (first, second)]
    page = template("differences.html.jinja").render(
        names=(first.folder, second.folder),
        machines=[list(dict.fromkeys(names)) for names in machines],
        machines_differ=set(machines[0]) != set(machines[1]),
        differences=found,
        only=[sorted(" ".join(filter(None, cell)) for cell in one - other) for one, other in (known, known[::-1])],
        confidence=f"{CONFIDENCE:.0%}",
    )
    write_text(page, path)


def differences(first: Results, second: Results) -> Iterator[Difference]:
    """Compare every cell that is in both sets; only runs that are ok and did equal work give figures."""
    ours, theirs = _cells(first.runs), _cells(second.runs)
    for cell in ours:
        if cell in theirs:
            pair = ours[cell], theirs[cell]
            first_rates, second_rates = (_log_rates(runs) for runs in pair)
            yield Difference(
                " ".join(filter(None, cell)),
                _written(first_rates),
                _written(second_rates),
                _ratio(first_rates, second_rates),
                (_accuracy(pair[0]), _accuracy(pair[1])),
                list(_differs(*pair)),
            )


def _cells(runs: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    """The runs of each cell. What its one machine is called does not matter; several machines are kept apart."""
    if runs["node"].nunique() == 1:
        runs = runs.assign(node="")
    return {tuple(map(str, key)): cell for key, cell in told_stock(runs).groupby(CELL, sort=False)}


def _log_rates(runs: pd.DataFrame) -> NDArray[np.float64]:
    good = runs[(runs["status"] == "ok") & runs["equal_work"].eq(True)]
    return np.asarray(np.log(good["train_samples_per_second"].dropna().to_numpy(np.float64)))


def _ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> Ratio:
    if not len(first) or not len(second):
        return Ratio(math.nan, math.nan, math.nan)
    value = math.exp(second.mean() - first.mean())
    if len(first) < 2 or len(second) < 2:
        return Ratio(value, math.nan, math.nan)
    interval = stats.ttest_ind(second, first, equal_var=False).confidence_interval(CONFIDENCE)
    return Ratio(value, math.exp(interval.low), math.exp(interval.high))


def _written(logs: NDArray[np.float64]) -> str:
    return metrics.THROUGHPUT.written(math.exp(logs.mean())) if len(logs) else "-"


def _accuracy(runs: pd.DataFrame) -> str:
    metric = metrics.TEST_LOSS if runs["test_accuracy"].isna().all() else metrics.TEST_ACCURACY
    return metric.written(runs[metric.column].astype(float).median())


def _differs(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[str]:
    for column, name in SAME.items():
        values = [", ".join(dict.fromkeys(map(str, runs[column]))) for runs in (first, second)]
        if values[0] != values[1]:
            short = [value[:8] if column.endswith("_hash") else value for value in values]
            yield f"{name}: {short[0]} against {short[1]}"
    if _machines(first) != _machines(second):
        yield "the machine"


def _machines(runs: pd.DataFrame) -> set[str]:
    return {_machine(machine) for machine in runs["machine"]}


def _machine(machine: dict[str, Any]) -> str:
    """What a timing depends on: another run on the same machine is written the same."""
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in machine.items()
    )
