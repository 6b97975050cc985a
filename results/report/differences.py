"""Two result sets side by side: the same cells on two machines, at two dates, or with two versions of a framework.

Nothing is interleaved between two result sets, so drift does not cancel: the interval of a difference is Welch's, over
the rounds of both. Everything else is the report: the page takes both sets together, with "A" or "B" before each cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from results.record import Say
from results.report.data import common_data
from results.report.facts import setting
from results.report.language import Language, texts
from results.report.page import fill
from results.report.panels import Results
from results.report.ratios import Ratios, ratio_entry
from results.statistics import CONFIDENCE, Ratio
from results.tables import told_stock, write_text

SIDES = "A", "B"

GROUP = ["experiment", "sweep_point", "device", "stock", "node"]
"""What makes a comparison of one set the counterpart of one of the other; stock is never set against tuned."""


def write(first: Results, second: Results, path: Path, language: Language = "en") -> None:
    """Write the page; raises StoreError if it cannot be written."""
    say = texts(language)
    both = together(first, second)
    found = differences(both, say)
    cells = both.runs[["backend", "mode"]].drop_duplicates().sort_values("backend", kind="stable")
    modes = [{**cell, "cell": f"{SIDES[1]} {cell['backend']} {cell['mode']}"} for cell in cells.to_dict("records")]
    data = {
        **common_data(both, found, {}, say),
        **{"modes": modes, "baselines": [SIDES[0]], "baseline": SIDES[0]},
    }
    note = say("B against A, each over its own rounds; the two were not measured in turns: a drift is in the ratios")
    if not found:
        note = say("no configuration is in both sets")
    page = fill(
        both,
        language,
        heading=say("Is {second} faster than {first}?").format(
            first=f"A ({first.folder})", second=f"B ({second.folder})"
        ),
        setting=f"A: {setting(first.runs, say)}. B: {setting(second.runs, say)}",
        rests_on=note,
        sides=[[say(what), *values] for what, *values in unlike(first.runs, second.runs)],
        highlights=[],
        data=data,
        scripts=[],
    )
    write_text(page, path)


def together(first: Results, second: Results) -> Results:
    """Both sets as one: cells have the name of their set before their own, and panels are those of both."""
    parts = []
    for side, results in zip(SIDES, (first, second), strict=True):
        runs = results.runs.assign(
            cell=side + " " + results.runs["cell"],
            # Ratios within a set are not asked for, and rows of two sets are never put into one figure.
            experiment_hash=side + " " + results.runs["experiment_hash"],
            node="" if results.runs["node"].nunique() == 1 else results.runs["node"],
        )
        tables = {name: getattr(results, name).copy() for name in ("epochs", "windows", "steps")}
        for table in (runs, *tables.values()):
            table["run"] = side + " " + table["run"]
        parts.append(replace(results, runs=runs, **tables))
    joined = {
        name: pd.concat([getattr(part, name) for part in parts], ignore_index=True)
        for name in ("runs", "epochs", "windows", "steps", "excluded")
    }
    joined["runs"]["panel"] = joined["runs"].groupby(GROUP, sort=False, dropna=False).ngroup()
    return Results(second.folder, **joined)


def differences(both: Results, say: Say = str) -> Ratios:
    """By panel: the ratio of every cell's throughput in B to that in A; cells of one set alone are left out."""
    found: Ratios = {}
    key: Any
    for key, own in both.runs.groupby(["panel", "backend", "mode"], sort=False):
        panel, backend, mode = key
        sides = [own[own["cell"].str.startswith(f"{side} ")] for side in SIDES]
        if all(len(side) for side in sides):
            ratio = _ratio(*(_log_rates(side) for side in sides))
            entry = ratio_entry(False, ratio, [], "", say)
            found.setdefault(panel, {}).setdefault(SIDES[0], {})[f"{SIDES[1]} {backend} {mode}"] = entry
    return found


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


def unlike(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """What is not the same in both sets, with its values in each: machine, versions, settings, experiments, files."""
    ours, theirs = (_facts(told_stock(runs)) for runs in (first, second))
    subjects = {_subject(name) for name in ours} & {_subject(name) for name in theirs}
    for name in dict.fromkeys([*ours, *theirs]):
        values = [", ".join(sorted(side.get(name, {"-"}))) for side in (ours, theirs)]
        # A backend or an experiment that is in one set alone is told by its cells.
        if values[0] != values[1] and _subject(name) in subjects:
            yield name, values[0], values[1]


def _subject(name: str) -> str:
    return name.split(": ")[0]


def _facts(runs: pd.DataFrame) -> dict[str, set[str]]:
    """What figures depend on, by name: all values that a set has."""
    found: dict[str, set[str]] = {}
    for run in runs.to_dict("records"):
        for name, value in _facts_of(run):
            found.setdefault(name, set()).add(value if isinstance(value, str) else json.dumps(value, default=str))
    return found


def _facts_of(run: dict[Hashable, Any]) -> Iterator[tuple[str, Any]]:
    backend, mode = run["backend"], run["mode"]
    label = f"{run['experiment']} {run['sweep_point']}".strip()
    yield from ((f"machine: {name}", value) for name, value in run["machine"].items())
    words = str(run["framework"]).split()
    yield from ((f"{backend}: {name}", version) for name, version in zip(words[::2], words[1::2], strict=False))
    yield f"{backend}: {FILE}", run["backend_hash"][:SHORT]
    yield from ((f"{backend} {mode}: {name}", value) for name, value in _flat(run["settings"]))
    yield from ((f"{label}: {name}", value) for name, value in _flat(_parsed(run["experiment_json"])))
    yield f"{label}: {DATA}", run["data_hash"][:SHORT]
    yield from ((f"asked: {name}", run[f"{name}_asked"]) for name in ("threads", "precision"))


FILE, DATA, SHORT = "its file (SHA-256)", "data (SHA-256)", 8

SKIPPED = ("versions", "affinity")
"""Settings that are told otherwise, or that no figure depends on."""


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested document, with their keys joined by dots."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in SKIPPED:
                yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # a store from elsewhere may hold anything
        return text
