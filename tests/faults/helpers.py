"""A bench as a process of its own, on an experiment of seconds, with backends made for one fault each."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from results.store import Store

ROOT = Path(__file__).parents[2]

EXPERIMENT = """
description = "A line"
layers = [{ layer = "linear", outputs = 1 }]
loss = "mean-squared-error"
batch_size = 10
epochs = 1
data = { name = "linear-regression", samples = 200, test_samples = 50 }
sgd = { learning_rate = 0.03 }
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a fault; ``held`` is whether that is what it has to be."""

    status: str
    """Of the rows, or what stands for them."""
    exit_code: int | None
    kept: str
    held: bool


def write_backend(folder: Path, name: str, body: str = "pass", top: str = "") -> Path:
    """Write a backend's file: the reference with something replaced."""
    path = folder / f"{name}.py"
    path.write_text(
        "# /// script\n# dependencies = ['numpy', 'safetensors']\n# ///\n"
        "import os, resource, signal, subprocess, sys, time\nfrom dataclasses import replace\nimport numpy as np\n"
        "from backends.reference import Reference\n"
        f"{textwrap.dedent(top)}\n"
        "class Faulty(Reference):\n    modes = {'numpy': 'faulty on purpose'}\n    devices = ('cpu',)\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n"
    )
    return path


@dataclass
class Bench:
    """A folder with an experiment, backends, a cache and results; and the commands that are run in it."""

    folder: Path
    backends: Sequence[str] = ("first", "second")
    repeats: int = 2
    results: Path = Path("out")
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the files; the backends that are there already stay as they are."""
        (self.folder / "line.toml").write_text(EXPERIMENT)
        (self.folder / "tmp").mkdir(exist_ok=True)  # what a killed bench leaves there goes with the folder
        for name in self.backends:
            if not (self.folder / f"{name}.py").exists():
                write_backend(self.folder, name)

    @property
    def store(self) -> Store:
        """The store of the results."""
        return Store(self.folder / self.results)

    @property
    def runs(self) -> pd.DataFrame:
        """The rows that are there."""
        return self.store.runs()

    @property
    def environment(self) -> Mapping[str, str]:
        """What the commands see."""
        own = {
            "XDG_CACHE_HOME": os.environ.get("FAULTS_CACHE", str(self.folder / "cache")),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **own, **self.variables}

    def start(self, *more: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start the bench; its output comes through a pipe."""
        command = [*prefix, sys.executable, "-m", "tests.faults.quick", "run", "line.toml"]
        for name in self.backends:
            command += ["--backend", f"{name}.py", "--python", f"{name}=current"]
        command += ["--threads", "1", "--repeats", str(self.repeats), "--results", str(self.results), *more]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *more: str, prefix: Sequence[str] = ()) -> tuple[int, str]:
        """Run the bench to its end; return the exit code and what it printed."""
        process = self.start(*more, prefix=prefix)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run another command of lockstep; return the exit code and what it printed."""
        command = [sys.executable, "-c", "from benchmarks.cli import main; main()", *arguments]
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        return ended.returncode, ended.stdout + ended.stderr


def wait_for(process: subprocess.Popen[str], text: str, times: int = 1) -> str:
    """Read what a bench prints until a text has come so many times; return all of it."""
    assert process.stdout
    seen = ""
    while times and (line := process.stdout.readline()):
        seen += line
        times -= text in line
    return seen


def counting(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that are not excluded."""
    return runs[runs["excluded"] == ""]


def clean(output: str) -> bool:
    """Whether nobody sees a traceback."""
    return "Traceback" not in output
