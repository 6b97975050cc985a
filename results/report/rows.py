"""The tables that charts are drawn from, one row per mark or point.

Each has the columns ``panel``, ``cell``, ``backend`` and ``mode``; what else is in it, its function says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from results.baseline import BASELINE
from results.report.panels import Results
from results.statistics import GROUP, compare, throughputs

IDENTITY = ["panel", "cell", "backend", "mode"]

CURVE_POINTS = 200
"""A curve of more steps is thinned to about so many."""


def chart_tables(results: Results) -> dict[str, pd.DataFrame]:
    """All tables by name, but for those of ``ratio_tables``."""
    return {
        "costs": costs(results),
        "waits": waits(results),
        "steps": steps(results),
        "partings": partings(results),
        "epochs": epochs(results),
        "fitting": fitting(results),
        "sweep": sweep(results),
        "confusion": confusion(results),
        "windows": windows(results),
    }


def ratio_tables(results: Results, baseline: tuple[str, str] = BASELINE) -> dict[str, pd.DataFrame]:
    """``ratios`` of each cell to the baseline from ``low`` to ``high``, with a ``verdict``, and those of ``rounds``."""
    found = compare(results.runs, results.windows, baseline)
    found = _identified(found, results)[[*IDENTITY, "ratio", "low", "high", "verdict", "by_round"]]
    rounds = found.explode("by_round").drop(columns="ratio").rename(columns={"by_round": "ratio"})
    return {"ratios": found.drop(columns="by_round"), "rounds": rounds}


def cell_throughputs(results: Results) -> pd.DataFrame:
    """``throughput`` of each cell, in samples per second over all its rounds."""
    found = throughputs(results.runs, results.windows).rename(columns={"samples_per_second": "throughput"})
    return _identified(found, results)[[*IDENTITY, "throughput"]]


def _identified(found: pd.DataFrame, results: Results) -> pd.DataFrame:
    """The rows with the panel and the cell that their comparison, backend and mode belong to."""
    return found.merge(results.runs[[*IDENTITY, *GROUP]].drop_duplicates())


def steps(results: Results) -> pd.DataFrame:
    """``loss`` at each ``step`` of each cell's first run, its ``distance`` from the reference's, ``tolerance``."""
    own = results.steps.merge(results.runs[["run", *IDENTITY]], on="run")
    own = own[own["run"] == own.groupby(IDENTITY)["run"].transform("first")]
    stride = (own.groupby("run")["step"].transform("size") / CURVE_POINTS).round().clip(lower=1)
    own = own[own.groupby("run").cumcount() % stride == 0]
    own["distance"] = (own["loss"] - own["reference_loss"]).abs()
    return own[[*IDENTITY, "step", "loss", "distance", "tolerance"]]


def epochs(results: Results) -> pd.DataFrame:
    """Medians over the runs of a cell by ``epoch``: ``test_accuracy``, ``test_loss``, ``seconds`` of training."""
    own = results.epochs.merge(results.runs[["run", *IDENTITY]], on="run").rename(
        columns={"elapsed_seconds": "seconds"}
    )
    columns = ["test_accuracy", "test_loss", "seconds"]
    own[columns] = own[columns].astype(float)
    return own.groupby([*IDENTITY, "epoch"], sort=False)[columns].median().reset_index()


def fitting(results: Results) -> pd.DataFrame:
    """``loss`` on the ``set`` "training" and "validation" by ``epoch``, of each cell's first run; ``best`` or not."""
    firsts = results.runs.drop_duplicates(IDENTITY)[["run", *IDENTITY, "best_epoch"]]
    own = results.epochs[results.epochs["validation_loss"].notna() & (results.epochs["epoch"] > 0)]
    own = own.merge(firsts, on="run").rename(columns={"train_loss": "training", "validation_loss": "validation"})
    keys = [*IDENTITY, "epoch", "best_epoch"]
    table = own.melt(keys, ["training", "validation"], "set", "loss")
    table["best"] = (table["set"] == "validation") & table["epoch"].eq(table.pop("best_epoch"))
    return table


COSTS = ("start", "import", "load", "first step", "first step, warm", "an epoch", "evaluation")
"""What people wait for, in the order in which it comes."""

EPOCHS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
"""Of trainings whose seconds are told."""


def costs(results: Results) -> pd.DataFrame:
    """``seconds`` of each ``cost``, also as ``text``: the median over the runs of a cell, in the order of ``place``."""
    table = _costs(results).reset_index().melt(IDENTITY, var_name="cost", value_name="seconds").dropna(subset="seconds")
    table["text"] = [f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in table["seconds"]]
    table["place"] = table["cost"].map({name: place for place, name in enumerate(COSTS)})
    return table


def waits(results: Results) -> pd.DataFrame:
    """``seconds`` from the start of a process until it has trained so many ``epochs``, with nothing compiled before."""
    own = _costs(results)
    once = own[["start", "import", "load"]].sum(axis=1) + own["first step"]
    parts = [(once + count * own["an epoch"]).rename("seconds").reset_index().assign(epochs=count) for count in EPOCHS]
    return pd.concat(parts).dropna(subset="seconds")


def _costs(results: Results) -> pd.DataFrame:
    """The median seconds of each cost by cell; an epoch is what the steady throughput makes of its samples."""
    runs = results.runs.astype(dict.fromkeys(SECONDS, float))
    found = runs[IDENTITY].copy()
    found["start"], found["import"] = runs["start_seconds"], runs["import_seconds"]
    found["load"] = runs["load_seconds"] + runs["put_seconds"]
    warm = runs["compiler_cache"].eq("warm")
    found["first step"] = runs["first_step_seconds"].mask(warm)
    found["first step, warm"] = runs["first_step_seconds"].where(warm)
    found["an epoch"] = runs["train_samples"] / runs["train_samples_per_second"]
    found["evaluation"] = runs["evaluate_seconds"]
    return found.groupby(IDENTITY, sort=False).median()


SECONDS = (
    *("start_seconds", "import_seconds", "load_seconds", "put_seconds", "first_step_seconds", "evaluate_seconds"),
    *("train_samples", "train_samples_per_second"),
)


def partings(results: Results) -> pd.DataFrame:
    """``step`` at which the first run of a cell parts from the reference, and the ``distance`` there."""
    firsts = results.runs.drop_duplicates(IDENTITY)
    firsts = firsts[firsts["parting"].map(bool)]
    found = firsts[IDENTITY].copy()
    for name in ("step", "distance"):
        found[name] = [parting[name] for parting in firsts["parting"]]
    return found


def sweep(results: Results) -> pd.DataFrame:
    """Along the first ``key`` whose values ``x`` are numbers: ``throughput``, ``gflops``, and the machine's ``peak``.

    Every panel of a sweep has the rows of all panels that differ from it in that key only.
    """
    columns = {"train_samples_per_second": "throughput", "gflops": "gflops", "peak_gflops": "peak"}
    good = results.runs[(results.runs["status"] == "ok") & results.runs["equal_work"].eq(True)]
    parts = []
    for _, own in good[good["sweep_point"] != ""].groupby(["session", "experiment", "device", "node"], sort=False):
        points = pd.DataFrame([dict(part.split("=", 1) for part in text.split(", ")) for text in own["sweep_point"]])
        key = next((name for name in points if _is_numeric(points[name]) and points[name].nunique() > 1), None)
        if key is None:
            continue
        rest = points.drop(columns=str(key)).astype(str).agg(", ".join, axis=1) if len(points.columns) > 1 else ""
        own = own.assign(key=str(key), x=pd.to_numeric(points[key]).to_numpy(), rest=np.asarray(rest))
        medians = own.groupby(["rest", "cell", "backend", "mode", "key", "x"], sort=False)[[*columns]].median()
        curves = medians.rename(columns=columns).reset_index()
        parts.append(own[["panel", "rest"]].drop_duplicates().merge(curves, on="rest").drop(columns="rest"))
    return pd.concat(parts) if parts else pd.DataFrame(columns=[*IDENTITY, "key", "x", *columns.values()])


def confusion(results: Results) -> pd.DataFrame:
    """``samples`` of the test set by ``true`` and ``predicted`` class and their places, of each cell's first run."""
    known = results.runs[results.runs["confusion"].map(lambda counts: isinstance(counts, list))]
    firsts = known.drop_duplicates(IDENTITY)
    rows = []
    run: Any
    for run in firsts[[*IDENTITY, "confusion", "classes"]].itertuples(index=False):
        names = run.classes or [str(number) for number in range(len(run.confusion))]
        true, predicted = np.indices((len(names), len(names))).reshape(2, -1)
        rows += [
            (*run[: len(IDENTITY)], names[row], names[column], int(row), int(column), count)
            for row, column, count in zip(true, predicted, np.ravel(run.confusion), strict=True)
        ]
    columns = ["true", "predicted", "true_place", "predicted_place", "samples"]
    return pd.DataFrame(rows, columns=[*IDENTITY, *columns])


def windows(results: Results) -> pd.DataFrame:
    """``throughput`` of every timed window at its ``second`` of the session, and whether it ``counts``."""
    own = results.windows[results.windows["kind"] == "timed"].merge(results.runs[["run", *IDENTITY]], on="run")
    own = own.rename(columns={"started": "second"})
    own["throughput"] = (own["samples"] / own["seconds"]).astype(float)
    own["counts"] = np.where(own["kept"].astype(bool), "yes", "no, not steady yet")
    return own[[*IDENTITY, "second", "throughput", "counts"]]


def _is_numeric(values: pd.Series) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().all())
