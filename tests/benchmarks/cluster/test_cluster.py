"""A plan on the machines of a Dask cluster: the same rows as here, whatever dies meanwhile, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 - Dask knows its defaults then
import pandas as pd
import psutil
import pytest
from rich.console import Console

from benchmarks.cell.kept_models import find_model
from benchmarks.cell.materials import Start
from benchmarks.cluster import machines as dask_cluster
from benchmarks.cluster.machines import connected
from benchmarks.cluster.part import alone
from benchmarks.commands.bench import bench
from benchmarks.errors import InputError
from benchmarks.machine.description import node_name
from benchmarks.session.outcome import OK, SOME_FAILED
from benchmarks.session.request import Selection
from benchmarks.session.session import Options
from results.store import Store

ROOT = Path(__file__).parents[3]
OPTIONS = Options(repeats=2, timeout=60, turns=2, judge_budget=1, peaks=False, baseline=("first", "numpy"))

COMMAND = """
import sys
from pathlib import Path
from rich.console import Console
from benchmarks.worker import signals
from tests.benchmarks.cluster.test_cluster import run
signals.install()
try:
    sys.exit(run(Path(sys.argv[1]), sys.argv[3:], sys.argv[2], Console()))
except signals.Interrupted as signal:
    sys.exit(signal.exit_code)
"""
"""A bench as a process of its own: results, cluster, backends."""


def run(
    results: Path,
    backends: list[str],
    cluster: str | None = None,
    console: Console | None = None,
    start: Start | None = None,
    **changes: Any,
):
    names = [Path(name).stem for name in backends]
    chosen = Selection(["linear-regression"], backends, threads=1, overrides={"epochs": 2}, start=start)
    pythons = dict.fromkeys(names, "current")
    options = replace(OPTIONS, baseline=(names[0], "numpy"), **changes)
    return bench(chosen, options, pythons, results, console or Console(file=StringIO()), cluster=cluster)


def counting(results: Path) -> pd.DataFrame:
    runs = Store(results).runs()
    return runs[runs["retired"] == ""].reset_index(drop=True)


class Cluster:
    """A scheduler and workers, each a process in a folder of its own, as a user starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes = [self._start("scheduler", "--scheduler-file", str(self.file), "--port", "0", "--no-dashboard")]
        wait_until(self.file.exists)

    def add_worker(self, *more: str) -> subprocess.Popen[bytes]:
        options = ["--nthreads", "1", "--resources", "lockstep=1", "--no-dashboard", "--no-nanny", *more]
        self.processes.append(self._start("worker", "--scheduler-file", str(self.file), *options))
        return self.processes[-1]

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        own = self.folder / f"{what}-{time.time_ns()}"
        own.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.folder / "cache")}
        environment["TMPDIR"] = str(self.folder)
        log = (own / "log").open("w")
        command = [sys.executable, "-m", "dask", what, *arguments]
        return subprocess.Popen(command, cwd=own, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def parts(self) -> list[psutil.Process]:
        """Everything that runs below the workers."""
        known = [psutil.Process(process.pid) for process in self.processes if process.poll() is None]
        return [child for process in known for child in process.children(recursive=True)]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


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


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dask_cluster, "FIRST_WORKER", 30)
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster")
    yield cluster
    cluster.end()


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


TIMES = ("seconds", "per_second", "per_wall", "gflops", "share_of_peak", "memory", "judged_steps", "ladder")
OWN = ("run", "session", "together", "started", "key", "log", "models", "settings", "machine", "node", "command")


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
    assert run(tmp_path / "there", backends, str(cluster.file), start=start, repeats=1) == OK
    row = counting(tmp_path / "there").iloc[0]
    assert row["weights_from"] == model.label
    assert row["weights_hash"] == start.hash


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
    assert set(rows["retired"]) == {""}
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
    monkeypatch.setattr(dask_cluster, "FIRST_WORKER", 30)
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


def test_a_machine_runs_one_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with alone(told.append):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(told.append):
        thread.start()
        wait_until(lambda: told)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting" in told[0]


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
