"""The cluster that is meant: it keeps still on this machine, is not there, has no workers, or only names itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 - Dask knows its defaults then
import pytest
from rich.console import Console

from benchmarks.cluster import machines as dask_cluster
from benchmarks.cluster.machines import connected
from benchmarks.commands.bench import bench
from benchmarks.errors import InputError
from benchmarks.machine.description import node_name
from benchmarks.session.exit_codes import OK
from benchmarks.session.request import Selection
from tests.benchmarks.cluster.helpers import OPTIONS, ROOT, Cluster, run


def settings(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a configuration, by dotted names."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from settings(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


QUIET = dict(settings(*dask.config.collect_yaml([str(dask_cluster.QUIET)])))


def test_every_setting_that_keeps_dask_still_is_one_of_dasks() -> None:
    known = dask.config.merge(*dask.config.defaults)
    for name, value in QUIET.items():
        assert dask.config.get(name, config=known) != value, f"{name} is so by default"


def test_a_cluster_on_this_machine_keeps_still() -> None:
    def in_force(names: list[str]) -> dict[str, Any]:
        return {name: dask.config.get(name) for name in names}

    with connected("local:1") as machines:
        found = machines.client.run(in_force, list(QUIET))
    assert list(found.values()) == [QUIET]
    assert in_force(list(QUIET)) != QUIET, "the client's own settings are as they were"


def test_a_cluster_on_this_machine_leaves_no_variables_behind_that_would_move_timings() -> None:
    before = dict(os.environ)
    with connected("local:1"):
        pass
    changed = {name for name, value in os.environ.items() if before.get(name) != value}
    assert changed <= {"PYTHONHASHSEED"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local:0", "local:N"),
        ("local:x", "local:N"),
        ("nowhere.json", "no such file"),
        ("", "no such file"),
        (__file__, "not a scheduler file"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers"),
        ("nonsense://127.0.0.1:1", "no Dask scheduler answers"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setattr(dask_cluster, "TIMEOUT", 2)
    with pytest.raises(InputError, match=expected) as error:
        run(tmp_path / "out", ["reference"], text)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers_for_lockstep_is_told(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "FIRST_WORKER", 1)
    with pytest.raises(InputError, match="--resources lockstep=1"):
        run(tmp_path / "out", ["reference"], str(cluster.file))


def test_another_lockstep_on_a_worker_is_told(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_worker()
    monkeypatch.setattr("benchmarks.cluster.worker.code_version", lambda: "9.9")
    with pytest.raises(InputError, match="install the same on all machines"):
        run(tmp_path / "out", ["reference"], str(cluster.file))


def test_without_dask_it_is_said_how_to_install_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules.update(dask=None, distributed=None); from benchmarks.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "digits-mlp", "--cluster", "local:2", "--results", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "uv sync --extra cluster" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_names_the_machines_and_writes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    console = Console(file=StringIO(), width=300)
    chosen = Selection(["linear-regression"], ["reference"])
    options = replace(OPTIONS, baseline=("reference", "numpy"))
    out = tmp_path / "out"
    assert bench(chosen, options, {}, out, console, dry_run=True, cluster=str(cluster.file)) == OK
    assert isinstance(console.file, StringIO)
    assert node_name() in console.file.getvalue()
    assert "2 runs in 2 rounds" in console.file.getvalue()
    assert not out.exists()
