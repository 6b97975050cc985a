"""Whatever dies meanwhile, a worker of Dask or the command itself, nothing is lost and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.cluster import machines
from benchmarks.session.exit_codes import OK, SOME_FAILED
from results.store import Store
from tests.benchmarks.cluster.helpers import ROOT, Cluster, counting, run, wait_until

COMMAND = """
import sys
from pathlib import Path
from rich.console import Console
from benchmarks.session import signals
from tests.benchmarks.cluster.helpers import run
signals.install()
try:
    sys.exit(run(Path(sys.argv[1]), sys.argv[3:], sys.argv[2], Console()))
except signals.Interrupted as signal:
    sys.exit(signal.exit_code)
"""
"""A bench as a process of its own: results, cluster, backends."""


@contextmanager
def client_process(cluster: Cluster, results: Path, backends: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", COMMAND, str(results), str(cluster.file), *backends]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return
    raise AssertionError(seen)


KILL_DASK_WORKER = """
def load(self, job):
    loads = {path!r}
    with open(loads, "a") as file:
        file.write("x")
    if os.path.getsize(loads) in {when}:
        import psutil
        os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
        time.sleep(60)
    super().load(job)
"""


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(cluster: Cluster, tmp_path: Path, write_backend) -> None:
    workers = [cluster.add_worker() for _ in range(2)]
    killer = KILL_DASK_WORKER.format(path=str(tmp_path / "loads"), when=(2,))
    backends = [str(write_backend("first")), str(write_backend("second", killer))]
    console = Console(file=StringIO(), width=300)
    wait_until(lambda: len(list(cluster.folder.glob("worker*"))) == 2)
    time.sleep(5)  # both are there
    assert run(tmp_path / "out", backends, str(cluster.file), console) == OK
    assert sorted(worker.poll() is None for worker in workers) == [False, True]
    rows = Store(tmp_path / "out").runs()
    assert sorted(zip(rows["round"], rows["backend"], strict=True)) == [
        (round_, name) for round_ in (1, 2) for name in ("first", "second")
    ]
    assert set(rows["status"]) == {"ok"}
    assert set(rows["excluded"]) == {""}
    assert rows["run"].nunique() == 4
    assert rows["run"].str.split("-").str[-2].nunique() == 2, "the second round is of another part"
    assert (tmp_path / "loads").stat().st_size == 3, "round 1 was not run again"
    assert isinstance(console.file, StringIO)
    assert "was lost; 2 runs are left" in console.file.getvalue()
    assert not cluster.parts()


def test_a_comparison_that_kills_every_worker_ends_as_failed_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_backend
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(machines, "FIRST_WORKER", 30)
    killer = KILL_DASK_WORKER.format(path=str(tmp_path / "loads"), when=range(100))
    assert run(tmp_path / "out", [str(write_backend("second", killer))], "local:1") == SOME_FAILED
    rows = Store(tmp_path / "out").runs()
    assert list(rows["status"]) == ["failed"] * 2
    expected = "the Dask worker that ran it was lost, 3 times"
    assert rows["reason"].str.contains(expected).all(), list(rows["reason"])
    assert (tmp_path / "loads").stat().st_size == 3


HANG = """
def load(self, job):
    loads = {path!r}
    with open(loads, "a") as file:
        file.write("x")
    if os.path.getsize(loads) == 2:
        time.sleep(600)
    super().load(job)
"""


def test_ctrl_c_stops_the_machines_too_and_the_same_command_goes_on(
    cluster: Cluster, tmp_path: Path, write_backend
) -> None:
    cluster.add_worker()
    hang = HANG.format(path=str(tmp_path / "loads"))
    backends = [str(write_backend("first")), str(write_backend("second", hang))]
    with client_process(cluster, tmp_path / "out", backends) as process:
        wait_for_line(process, "round 1 linear-regression second numpy: ok")
        wait_until(lambda: (tmp_path / "loads").stat().st_size == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert not cluster.parts()
    rows = Store(tmp_path / "out").runs()
    assert list(rows["status"]) == ["ok"] * 2 + ["interrupted"] * 2
    assert rows["reason"].iloc[2:].str.startswith("stopped by Ctrl-C").all()
    assert (tmp_path / "out" / "report.html").exists()
    assert run(tmp_path / "out", backends, str(cluster.file)) == OK
    now = counting(tmp_path / "out")
    assert now["session"].nunique() == 1
    assert list(now["run"])[:2] == list(rows["run"])[:2]
    assert list(now["round"]) == [1, 1, 2, 2]


def test_a_client_that_is_killed_leaves_no_training_behind(cluster: Cluster, tmp_path: Path, write_backend) -> None:
    cluster.add_worker()
    hang = HANG.format(path=str(tmp_path / "loads"))
    with client_process(cluster, tmp_path / "out", [str(write_backend("second", hang))]) as process:
        wait_until(lambda: (tmp_path / "loads").exists() and (tmp_path / "loads").stat().st_size == 2)
        assert cluster.parts()
        process.kill()
        wait_until(lambda: not cluster.parts(), seconds=30)
