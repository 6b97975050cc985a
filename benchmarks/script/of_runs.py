"""The scripts of a report: how each framework writes the experiments whose runs it shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pandas as pd

from backends.hosting import environments
from benchmarks.errors import InputError
from benchmarks.script.rendering import Language, Script, render
from benchmarks.spec.experiment import Experiment

MOST = 8
"""Experiments that are written; a report of a sweep has hundreds of comparisons."""


def of_runs(runs: pd.DataFrame, language: Language = "en") -> list[dict[str, Any]]:
    """Return for each experiment its label, and for each framework title, command and program, in its first mode.

    What no template covers is left out, and so are rows of a lockstep whose experiments were other ones.
    """
    plain = runs[(runs["sweep_point"] == "") & (runs["experiment_json"] != "") & runs["train_samples"].notna()]
    written: list[dict[str, Any]] = []
    for name, own in plain.groupby("experiment", sort=False):
        if len(written) == MOST:
            break
        if programs := list(_programs(str(name), own, language)):
            written.append({"label": str(name), "programs": programs})
    return written


def _programs(name: str, runs: pd.DataFrame, language: Language) -> Iterator[dict[str, str]]:
    for run in runs.drop_duplicates("backend").sort_values("backend").to_dict("records"):
        if run["backend"] not in environments.names():
            continue  # not by a path that a store from elsewhere names
        try:
            experiment = Experiment.model_validate(json.loads(run["experiment_json"]))
            backend = environments.find(run["backend"])
            script = Script(
                name,
                experiment,
                {
                    "train": int(run["train_samples"]),
                    "validation": int(run["validation_samples"] or 0),
                    "test": int(run["test_samples"]),
                },
                list(run["classes"]),
                backend,
                run["mode"],
                int(run["threads_asked"]),
                language=language,
            )
            program = render(script)
        except (InputError, ValueError):
            continue
        what = ["script", name, "--backend", backend.name, "--mode", run["mode"], "--output", script.file]
        command = shlex.join(["lockstep", *what])
        yield {"title": f"{backend.name} {run['mode']}", "command": command, "program": program}
