"""How fast the reference trains a convolutional network, and how far it judges a deep one in the budget of a bench."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import draw, prepare_data
from benchmarks.session.options import Options
from benchmarks.spec import experiment as experiments
from results.proof.judge import Case, judge

STEPS = 200
UNTIMED = 20
"""Steps before those that count."""

RESNET = {"data": {"name": "generated-images", "shape": [3, 32, 32], "samples": 4000}, "batch_size": 32}
"""What replaces its data set, which would have to be downloaded, by pictures of the same shape."""


def reference_step(interpreters: Interpreters, folder: Path) -> float:
    """Milliseconds of a step of the digits CNN in float64, the median, on one thread."""
    case = _case("digits-cnn", {}, interpreters, folder)
    training = case.training(case.initial)
    seconds = []
    with threadpool_limits(1):
        for _ in range(STEPS):
            begin = time.perf_counter()
            case.step(training, 0)
            seconds.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(seconds[UNTIMED:])


def pytorch_step(python: str | Path) -> float:
    """The same in PyTorch, whose environment has this interpreter."""
    script = str(Path(__file__).with_name("pytorch_float64.py"))
    done = subprocess.run([str(python), script, str(STEPS)], check=True, capture_output=True, text=True)
    return 1e3 * statistics.median([float(line) for line in done.stdout.split()][UNTIMED:])


def steps_of_resnet(interpreters: Interpreters, folder: Path) -> int:
    """Steps of ResNet-20 on pictures of 32x32 pixels that are judged in the budget of a bench."""
    return judge(_case("resnet20-cifar10", RESNET, interpreters, folder), Options.judge_budget).steps


def _case(name: str, overrides: dict[str, Any], interpreters: Interpreters, folder: Path) -> Case:
    path = experiments.find(name)
    experiment = experiments.load(path, overrides)
    return draw(name, experiment, prepare_data(experiment, path.parent, interpreters), folder).case("float32")
