"""The tables that charts are drawn from, one row per mark or point.

Each has the columns ``panel``, ``cell``, ``backend`` and ``mode``; what else is in it, its function says.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from results.record import PHASES, phase_label
from results.report.panels import Results
from results.statistics import GROUP, throughputs

IDENTITY = ["panel", "cell", "backend", "mode"]

CURVE_POINTS = 200
"""A curve of more steps is thinned to about so many."""


def chart_tables(results: Results) -> dict[str, pd.DataFrame]:
    """All tables by name."""
    return {
        "processes": processes(results),
        "intervals": intervals(results),
        "steps": steps(results),
        "epochs": epochs(results),
        "fitting": fitting(results),
        "phases": phases(results),
        "sweep": sweep(results),
        "confusion": confusion(results),
        "windows": windows(results),
    }


def processes(results: Results) -> pd.DataFrame:
    """``throughput`` of each run, with its ``round``."""
    runs = results.runs.rename(columns={"train_samples_per_second": "throughput"})
    return runs.loc[runs["throughput"].notna(), [*IDENTITY, "round", "throughput"]]


def intervals(results: Results) -> pd.DataFrame:
    """``throughput`` of each cell from ``low`` to ``high``."""
    found = throughputs(results.runs, results.windows).rename(columns={"samples_per_second": "throughput"})
    found["cell"] = found["backend"] + " " + found["mode"]
    panels = results.runs[["panel", *GROUP]].drop_duplicates()
    return found.merge(panels, on=GROUP)[[*IDENTITY, "throughput", "low", "high"]]


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


def phases(results: Results) -> pd.DataFrame:
    """Mean ``seconds`` of each ``phase`` but waiting, in the order of ``place``."""
    columns = {f"{phase}_seconds": phase_label(phase) for phase in PHASES if phase != "waiting"}
    seconds = results.runs[[*IDENTITY, *columns]].astype(dict.fromkeys(columns, float)).rename(columns=columns)
    means = seconds.groupby(IDENTITY, sort=False).mean().reset_index()
    table = means.melt(IDENTITY, var_name="phase", value_name="seconds").dropna(subset="seconds")
    table["place"] = table["phase"].map({name: place for place, name in enumerate(columns.values())})
    return table


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
    """``samples`` of the test set by ``true`` and ``predicted`` class, of each cell's first run."""
    known = results.runs[results.runs["confusion"].map(lambda counts: isinstance(counts, list))]
    firsts = known.drop_duplicates(IDENTITY)
    parts = []
    for identity, counts in zip(firsts[IDENTITY].itertuples(index=False), firsts["confusion"], strict=True):
        true, predicted = np.indices((len(counts), len(counts))).reshape(2, -1)
        parts.append([(*identity, *cell) for cell in zip(true, predicted, np.ravel(counts), strict=True)])
    rows = [row for part in parts for row in part]
    return pd.DataFrame(rows, columns=[*IDENTITY, "true", "predicted", "samples"])


def windows(results: Results) -> pd.DataFrame:
    """``throughput`` of every timed window at its ``second`` of the session, and whether it ``counts``."""
    own = results.windows[results.windows["kind"] == "timed"].merge(results.runs[["run", *IDENTITY]], on="run")
    own = own.rename(columns={"started": "second"})
    own["throughput"] = (own["samples"] / own["seconds"]).astype(float)
    own["counts"] = np.where(own["kept"].astype(bool), "yes", "no, not steady yet")
    return own[[*IDENTITY, "second", "throughput", "counts"]]


def _is_numeric(values: pd.Series) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().all())
