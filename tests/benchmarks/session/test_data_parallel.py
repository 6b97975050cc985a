"""Replicas share every batch, and the mathematics stays that of one device: the ladder holds, or tells who cheats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.commands.bench import bench
from benchmarks.session.exit_codes import OK, SOME_FAILED
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from results import report
from results.statistics import FOOTNOTE
from results.store import Store

UNEVEN = {"epochs": 2, "batch_size": 31}
"""1,294 samples: batches of 16 and 15 for two replicas, and a last one of 12 and 11."""


@pytest.fixture
def results(tmp_path: Path, cache: None) -> Path:
    return tmp_path / "results"


def run(
    results: Path, interpreters: Interpreters, backend: str, framework: str = "", turns: int = 0, **selection: Any
) -> int:
    """Run digits-mlp; a backend that is a file runs where its framework is."""
    python = str(interpreters.path(environments.find(framework or backend)))
    chosen = Selection(experiments=["digits-mlp"], backends=[backend], threads=2, **selection)
    options = Options(1, timeout=300, turns=turns, peaks=False)
    console = Console(file=(results.parent / "console.txt").open("w"), width=100)
    return bench(chosen, options, {Path(backend).stem: python}, results, console)


def rows(results: Path) -> pd.DataFrame:
    return Store(results).runs()


def told(results: Path) -> str:
    """Why rows are not ok, and the ends of all logs: a framework that ends a replica says why there alone."""
    logs = [path.read_text(errors="replace")[-3000:] for path in sorted((results / "logs").glob("*.log"))]
    return "\n".join([*rows(results)["reason"], *logs])


@pytest.mark.parametrize("framework", ["jax", "mindspore", "pytorch"])
def test_losses_are_those_of_one_device_by_the_ladder_also_where_batches_do_not_divide(
    results: Path, interpreters: Interpreters, framework: str
) -> None:
    # What "compile" has besides eager's DistributedDataParallel takes minutes to compile in two processes.
    modes = [mode for mode in environments.find(framework).modes if mode != "compile"]
    code = run(results, interpreters, framework, modes=modes, overrides={**UNEVEN, "replicas": 2})
    table = rows(results)
    assert code == OK, told(results)
    assert set(table["mode"]) == set(modes)
    unavailable = table["mode"].eq("aot")  # which PyTorch compiles for one process
    assert table["status"].where(~unavailable, "ok").eq("ok").all()
    table = table[~unavailable]
    assert table["replicas"].eq(2).all()
    assert [settings["replicas"] for settings in table["settings"]] == [2] * len(table), "as the framework says"
    assert table["judged_steps"].eq(table["steps_per_epoch"] * 2).all(), "all steps"


@pytest.mark.parametrize("framework", ["jax", "mindspore", "pytorch"])
def test_batches_of_a_loader_are_shared_too(results: Path, interpreters: Interpreters, framework: str) -> None:
    """In one mode: the modes of a framework have one way to its loader."""
    first = next(iter(environments.find(framework).modes))
    overrides = {**UNEVEN, "epochs": 1, "replicas": 2, "input": "loader"}
    assert run(results, interpreters, framework, modes=[first], overrides=overrides) == OK, told(results)


HEADER = environments.find("pytorch").path.read_text().split("# ///\n")[0] + "# ///\n"
SABOTEUR = """\
{header}
from dataclasses import replace

from backends.pytorch import PyTorch


class Saboteur(PyTorch):
    modes = {{"eager": "sabotaged"}}
    devices = ("cpu",)
    launcher = {launcher!r}
{body}
"""
NO_AVERAGE = """
    def load(self, job):
        super().load(job)
        self.model = self.network
"""
PLAIN_MEAN = """
    def load(self, job):
        super().load(job)
        mean = self.loss
        self.loss = lambda features, labels: mean(features, labels) * self.total / (len(labels) * self.replicas)

    def train(self, data, batches):
        self.total = batches.shape[1]
        return super().train(data, batches)
"""
"""Takes back what makes of the mean of the parts' means that of the batch."""
ONE_ALONE = """
    def load(self, job):
        super().load(replace(job, replicas=1))
"""


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (NO_AVERAGE, "not-equivalent", "weights after one step"),
        (PLAIN_MEAN, "not-equivalent", ""),
        (ONE_ALONE, "failed", "2 replicas were asked for, and it says that there are 1"),
    ],
    ids=["gradients are not averaged", "plain mean of uneven parts", "one replica does it all"],
)
def test_replicas_that_do_other_work_are_caught(
    results: Path, interpreters: Interpreters, tmp_path: Path, body: str, status: str, reason: str
) -> None:
    file = tmp_path / "saboteur.py"
    launcher = environments.find("pytorch").launcher
    file.write_text(SABOTEUR.format(header=HEADER, launcher=launcher, body=body))
    overrides = {**UNEVEN, "replicas": 2}
    assert run(results, interpreters, str(file), "pytorch", overrides=overrides) == SOME_FAILED
    (row,) = rows(results).to_dict("records")
    assert row["status"] == status, row["reason"]
    assert reason in row["reason"]
    assert not row["equal_work"]


def test_a_backend_without_replicas_is_unavailable_in_its_own_words(results: Path) -> None:
    chosen = Selection(experiments=["digits-mlp"], backends=["reference"], threads=1, overrides={"replicas": 2})
    options = Options(1, 120, turns=0, peaks=False)
    console = Console(file=(results.parent / "console.txt").open("w"))
    assert bench(chosen, options, {"reference": "current"}, results, console) == OK
    (row,) = rows(results).to_dict("records")
    assert (row["status"], row["replicas"]) == ("unavailable", 2)
    assert "NumPy has no means" in row["reason"]


@pytest.mark.usefixtures("page")
def test_a_sweep_over_replicas_shows_how_it_scales(results: Path, interpreters: Interpreters) -> None:
    overrides = {"epochs": 1}
    code = run(results, interpreters, "jax", turns=1, sweeps=["replicas=1,2"], modes=["jit"], overrides=overrides)
    assert code == OK, told(results)
    assert list(rows(results)["replicas"]) == [1, 2]
    shown = (results.parent / "console.txt").read_text()
    assert FOOTNOTE in shown.replace("\n", " ")
    page = (results / report.PAGE).read_text()
    assert "Scaling over replicas" in page
