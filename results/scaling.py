"""How throughput grows with the replicas of a model: speed-up over one replica, and efficiency, with intervals.

The speed-up is the throughput with N replicas over that with one, in the same round of a session; the efficiency is the
speed-up over N. Both have the same processors in all, so on the CPU of one machine an efficiency of 1 is out of reach
unless one replica leaves processors idle; with a GPU for each replica it is what the hardware would allow. The runs of
a round are minutes apart, not in turns, so the machine's drift does not cancel: it is in the interval, over rounds.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from results.record import threads_text
from results.statistics import GROUP, WITHOUT_INTERVAL, ratio

_RATE = "train_samples_per_second"
_CELL = [*(name for name in GROUP if name not in ("experiment_hash", "replicas")), "backend", "mode"]
SCALING = ["label", *_CELL, "replicas", "rounds", "speed_up", "low", "high"]
"""Columns of the scaling."""


def scaling(runs: pd.DataFrame) -> pd.DataFrame:
    """Set the cells with several replicas against the same cells with one, where a session has both.

    ``runs`` is the table of the store. Only runs that are ok and did equal work count. Returns a row per cell: the
    columns of ``SCALING``, with the speed-up and its interval from ``low`` to ``high`` (NaN with one round); over
    ``replicas`` they are the efficiency.
    """
    if not (runs["replicas"] > 1).any():
        return pd.DataFrame(columns=SCALING)
    good = runs[(runs["status"] == "ok") & runs["equal_work"].eq(True) & runs[_RATE].gt(0)]
    good = good.assign(alike=good["experiment_json"].map(_without_replicas), label=_labels(good))
    key = ["session", "round", *_CELL, "alike"]
    one = good.loc[good["replicas"] == 1, [*key, _RATE]]
    pairs = good[good["replicas"] > 1].merge(one, on=key, suffixes=("", "_of_one"))
    rows = []
    for (*cell, _, replicas), own in pairs.groupby([*_CELL, "alike", "replicas"], sort=False):
        logs = np.log((own[_RATE] / own[f"{_RATE}_of_one"]).to_numpy(np.float64))
        found = ratio(logs[:, np.newaxis])
        rows.append((own["label"].iloc[0], *cell, replicas, len(logs), found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=SCALING)


def scaling_texts(runs: pd.DataFrame) -> pd.DataFrame:
    """The same as people read it, with the efficiency; the values are texts."""
    rows = [
        {
            "experiment": f"{row['label']} on {row['device']}, {threads_text(row['threads_asked'])}"
            + (", stock" if row["stock"] else ""),
            "backend and mode": f"{row['backend']} {row['mode']}",
            "replicas": str(row["replicas"]),
            "speed-up over one": _written(row, 1, ".2f", "x"),
            "efficiency": _written(row, 100 / row["replicas"], ".1f", " %"),
        }
        for row in scaling(runs).to_dict("records")
    ]
    return pd.DataFrame(rows)


def _written(row: dict[Hashable, Any], factor: float, form: str, unit: str) -> str:
    value, low, high = (f"{row[name] * factor:{form}}" for name in ("speed_up", "low", "high"))
    return f"{value}{unit}{WITHOUT_INTERVAL if np.isnan(row['low']) else f' ({low} to {high})'}"


def _without_replicas(experiment: str) -> str:
    """What is trained and how, whatever the replicas."""
    try:
        values = json.loads(experiment)
    except ValueError:  # a store from elsewhere may hold anything
        return experiment
    if isinstance(values, dict):
        values.pop("replicas", None)
    return json.dumps(values, sort_keys=True)


def _labels(runs: pd.DataFrame) -> list[str]:
    """The experiment, and where in a sweep, less the replicas."""
    points = [
        ", ".join(part for part in text.split(", ") if not part.startswith("replicas=")) for text in runs["sweep_point"]
    ]
    return [f"{name} {point}".strip() for name, point in zip(runs["experiment"], points, strict=True)]
