"""A plan on the machines of a cluster: the same rows as here, more rounds, going on, and data that is missing there."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from benchmarks.cell.kept_models import find_model
from benchmarks.cell.materials import Start
from benchmarks.commands.bench import bench
from benchmarks.machine.description import node_name
from benchmarks.session.exit_codes import OK, SOME_FAILED
from benchmarks.session.request import Selection
from results.store import Store
from tests.benchmarks.cluster.helpers import OPTIONS, Cluster, counting, run

TIMES = ("seconds", "per_second", "per_wall", "gflops", "share_of_peak", "memory", "judged_steps", "ladder")
OWN = (
    "run",
    "session",
    "comparison",
    "started",
    "resume_key",
    "log",
    "models",
    "settings",
    "machine",
    "node",
    "command",
)


@pytest.mark.usefixtures("page")
def test_the_rows_are_those_of_a_local_run_but_for_machine_and_time(
    cluster: Cluster, tmp_path: Path, write_backend
) -> None:
    backends = [str(write_backend("first")), str(write_backend("second"))]
    for _ in range(2):
        cluster.add_worker()
    assert run(tmp_path / "here", backends, keep_models=True) == OK
    (tmp_path / "there").mkdir()
    assert run(tmp_path / "there", backends, str(cluster.file), keep_models=True) == OK
    here, there = (
        counting(tmp_path / name).sort_values(["round", "backend"]).reset_index(drop=True) for name in ("here", "there")
    )
    apart = [name for name in here.columns if name in OWN or any(part in str(name) for part in TIMES)]
    pd.testing.assert_frame_equal(here.drop(columns=apart), there.drop(columns=apart))
    losses = [
        Store(tmp_path / name).steps().set_index("run").loc[rows["run"], "loss"].to_numpy()
        for name, rows in (("here", here), ("there", there))
    ]
    assert (losses[0] == losses[1]).all()
    assert set(here["node"]) == {""}
    assert set(there["node"]) == {node_name()}
    stores = [Store(tmp_path / name) for name in ("here", "there")]
    assert len(stores[0].epochs()) == len(stores[1].epochs()) == 4 * 3
    # Noisy workers take more turns.
    assert min((store.windows()["kind"] == "timed").sum() for store in stores) >= 4 * OPTIONS.turns
    for row in there.to_dict("records"):
        assert (tmp_path / "there" / row["log"]).exists()
        assert find_model(row["run"], tmp_path / "there").run == row["run"]
    assert node_name() in (tmp_path / "there" / "report.html").read_text()
    assert not cluster.parts()


def test_rounds_are_added_on_the_machine_that_has_the_comparison(
    cluster: Cluster, tmp_path: Path, write_backend
) -> None:
    cluster.add_worker()
    backends = [str(write_backend("first")), str(write_backend("second"))]
    console = Console(file=StringIO(), width=300)
    begin = time.perf_counter()
    assert run(tmp_path / "two", backends, str(cluster.file), until=1e9) == OK
    of_two_rounds = time.perf_counter() - begin
    assert run(tmp_path / "out", backends, str(cluster.file), console, until=1e-6, budget=2 * of_two_rounds) == OK
    rows = counting(tmp_path / "out")
    assert rows["round"].max() > 2
    assert len(rows) == 2 * rows["round"].max() == rows["run"].nunique()
    assert rows["session"].nunique() == 1
    assert isinstance(console.file, StringIO)
    assert "not sure enough yet: round 3 of linear-regression" in console.file.getvalue()


def test_training_goes_on_from_weights_that_are_kept_here(cluster: Cluster, tmp_path: Path, write_backend) -> None:
    cluster.add_worker()
    backends = [str(write_backend("first"))]
    assert run(tmp_path / "here", backends, keep_models=True, repeats=1) == OK
    model = find_model(counting(tmp_path / "here")["run"].iloc[0], tmp_path / "here")
    start = Start(model.label, model.parameters)
    assert run(tmp_path / "there", backends, str(cluster.file), start=start, stock=True, repeats=1) == OK
    row = counting(tmp_path / "there").iloc[0]
    assert (row["stock"], row["settings"]["bound_threads"]) == (True, 0), "that is asked for there as well"
    assert row["weights_from"] == model.label
    assert row["weights_hash"] == start.hash


def test_data_that_a_machine_does_not_have_is_a_failed_row_with_its_reason(
    cluster: Cluster, tmp_path: Path, write_backend
) -> None:
    cluster.add_worker()
    experiment = tmp_path / "mine.toml"
    experiment.write_text(
        'description = "mine"\nlayers = [{ layer = "flatten" }, { layer = "linear", outputs = 2 }]\n'
        'loss = "cross-entropy"\nbatch_size = 2\nepochs = 1\n[data]\nname = "picture-folder"\npath = "nowhere"\n'
        "size = [8, 8]\n[sgd]\nlearning_rate = 0.1\n"
    )
    chosen = Selection([str(experiment)], [str(write_backend("first"))], threads=1)
    console = Console(file=StringIO())
    pythons = {"first": "current"}
    assert bench(chosen, OPTIONS, pythons, tmp_path / "out", console, cluster=str(cluster.file)) == SOME_FAILED
    rows = Store(tmp_path / "out").runs()
    assert list(rows["status"]) == ["failed"] * 2
    assert rows["reason"].str.contains("data.path").all()
    assert rows["reason"].str.contains(node_name()).all()
