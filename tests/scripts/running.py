"""Writes a script with lockstep's weights and batches, runs it where lockstep is not, and compares it with float64."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from uv import find_uv_bin

from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import draw
from benchmarks.data import PreparedData
from benchmarks.data.source import data_root, download_root
from benchmarks.data.torchvision_sets import TORCHVISION
from benchmarks.script.exact import write_files
from benchmarks.script.rendering import Script, render
from benchmarks.script.samples import rows_of
from benchmarks.spec.data import PictureFolder
from benchmarks.spec.experiment import Experiment
from benchmarks.worker.environment import worker_environment
from results.proof.judge import Case, Judgement

LAST_ACCURACY = re.compile(r"accuracy ([\d.]+)%")
SPEED = re.compile(r"([\d,]+) samples/s")


class ScriptFailed(Exception):
    """A script that ended with an error; the message has the end of what it printed."""


@dataclass(frozen=True)
class Agreement:
    """How far a script is from float64 in the judged steps, and how fast it says that it is."""

    steps: int
    off: float
    """The largest distance of a loss from float64's, in tolerances of the ladder: at most 1 is equal work."""
    wrong_samples: int
    """By how many samples its accuracy after the last step differs from the reference's, those aside for which rounding
    decides; 0 where the reference has not judged all of the training and the whole test set."""
    samples_per_second: float

    @property
    def holds(self) -> bool:
        """Whether it did the same work."""
        return self.off <= 1 and not self.wrong_samples


def case_of(name: str, experiment: Experiment, data: PreparedData, folder: Path) -> Case:
    """What the reference judges."""
    return draw(name, experiment, data, folder).case("float32")


def run(script: Script, folder: Path, interpreters: Interpreters, case: Case, judgement: Judgement) -> Agreement:
    """Write the script with its files into ``folder``, run it, and compare its losses and accuracy."""
    folder.mkdir(parents=True)
    path = folder / script.file
    path.write_text(render(script), encoding="utf-8")
    write_files(script, rows_of(script.experiment, Path())[0], folder)
    printed = _printed(script, path, interpreters)
    losses = np.load(folder / f"{script.stem}_{script.backend.name}_losses.npy")
    if len(losses) != case.steps:
        raise ScriptFailed(f"{script.file}: {len(losses)} steps, not {case.steps}")
    expected = judgement.losses
    off = np.abs(losses[: judgement.steps] - expected.values) / expected.tolerance
    speed = float(SPEED.findall(printed)[-1].replace(",", ""))
    return Agreement(judgement.steps, float(off.max()), _wrong_samples(printed, case, judgement, script), speed)


def _printed(script: Script, path: Path, interpreters: Interpreters) -> str:
    """Run it in the framework's own environment or, where it needs more than is in there, in one that uv makes."""
    data, folders = script.experiment.data, []
    if isinstance(data, PictureFolder):
        folders = [str((data_root() or Path()) / data.path)]
    elif data.name in TORCHVISION:
        folders = [str(download_root())]
    if data.name == "digits" or (folders and script.backend.name == "jax"):
        command = [find_uv_bin(), "run", "--quiet", "--no-project", str(path)]
    else:
        command = [str(interpreters.path(script.backend)), "-I", str(path)]
    environment = worker_environment(script.threads)
    done = subprocess.run([*command, *folders], cwd=path.parent, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ScriptFailed(f"{script.file}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def _wrong_samples(printed: str, case: Case, judgement: Judgement, script: Script) -> int:
    tested = script.sizes["test"]
    if not judgement.decisions or judgement.steps < case.steps or len(case.judged_labels) < tested:
        return 0
    right = round(float(LAST_ACCURACY.findall(printed)[-1]) / 100 * tested)
    return max(0, abs(right - judgement.decisions.correct) - judgement.decisions.ambiguous)
