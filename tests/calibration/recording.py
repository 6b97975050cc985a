"""Recording the timings that the trials draw from: a backend, its twin, and two slowed copies, in many rounds."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.commands.bench import bench
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from results.store import Store
from tests.calibration.trials import ORIGINAL, PLANTED, SLIGHTLY_SLOWER, SLOWER, TWIN

MODES = {"pytorch": "eager", "jax": "jit", "mindspore": "graph"}
"""The mode of each framework whose timings are recorded."""

CLASSES = {"pytorch": "PyTorch", "jax": "Jax", "mindspore": "MindSpore"}

COPY = """\
{header}
import time

from backends.{framework} import {base}


class Copy({base}):
    modes = {{{mode!r}: "a copy"}}
    devices = ("cpu",)
    began = None

    def train(self, data, batches):
        self.began = self.began or time.perf_counter()
        return super().train(data, batches)

    def synchronize(self, handle):
        losses = super().synchronize(handle)
        if self.began:  # the first of the calls that wait: the others find the work done
            now = time.perf_counter()
            end = now + {share} * (now - self.began)
            self.began = None
            while time.perf_counter() < end:
                pass
        return losses
"""


def record(framework: str, experiment: str, rounds: int, folder: Path, console: Console) -> pd.DataFrame:
    """Measure and return the columns framework, cell, round, turn, samples_per_second; raises RuntimeError."""
    folder.mkdir(parents=True)
    backend = environments.find(framework)
    header = backend.path.read_text().split("# ///\n")[0] + "# ///\n"
    files = {}
    for cell in (ORIGINAL, TWIN, SLOWER, SLIGHTLY_SLOWER):
        files[cell] = folder / f"{cell}.py"
        files[cell].write_text(
            COPY.format(
                header=header,
                framework=framework,
                base=CLASSES[framework],
                mode=MODES[framework],
                share=PLANTED.get(cell, 0.0),
            )
        )
    python = str(Interpreters({}, console.print).path(backend))
    selection = Selection([experiment], [str(file) for file in files.values()], overrides={"epochs": 1})
    options = Options(rounds, baseline=(ORIGINAL, MODES[framework]), peaks=False)
    bench(selection, options, dict.fromkeys(files, python), folder / "results", Console(file=io.StringIO()))
    store = Store(folder / "results")
    runs = store.runs()
    bad = runs[runs["status"] != "ok"]
    if len(bad):
        raise RuntimeError(f"{framework} {bad.iloc[0]['backend']}: {bad.iloc[0]['status']}: {bad.iloc[0]['reason']}")
    windows = store.windows()
    windows = windows[windows["kept"].astype(bool)].merge(runs[["run", "backend", "round"]], on="run")
    return pd.DataFrame(
        {
            "framework": framework,
            "cell": windows["backend"],
            "round": windows["round"],
            "turn": windows["turn"],
            "samples_per_second": windows["samples"] / windows["seconds"],
        }
    )
