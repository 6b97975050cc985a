"""A scheduler and workers that are processes of their own, and a short plan to run on them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from rich.console import Console

from benchmarks.cell.materials import Start
from benchmarks.commands.bench import bench
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from results.store import Store

ROOT = Path(__file__).parents[3]
OPTIONS = Options(repeats=2, timeout=60, turns=2, judge_budget=1, peaks=False, baseline=("first", "numpy"))


def run(
    results: Path,
    backends: list[str],
    cluster: str | None = None,
    console: Console | None = None,
    start: Start | None = None,
    stock: bool = False,
    **changes: Any,
):
    names = [Path(name).stem for name in backends]
    chosen = Selection(["linear-regression"], backends, threads=1, overrides={"epochs": 2}, start=start, stock=stock)
    pythons = dict.fromkeys(names, "current")
    options = replace(OPTIONS, baseline=(names[0], "numpy"), **changes)
    return bench(chosen, options, pythons, results, console or Console(file=StringIO()), cluster=cluster)


def counting(results: Path) -> pd.DataFrame:
    runs = Store(results).runs()
    return runs[runs["excluded"] == ""].reset_index(drop=True)


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


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
