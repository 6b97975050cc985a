"""The loops without a harness still run, and train; the numbers that they are judged by come out right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from backends import environments
from backends.environments import Interpreters
from benchmarks.materials import Materials
from tests.handwritten.__main__ import (
    EXPERIMENTS,
    FRAMEWORKS,
    Comparison,
    Interval,
    best_against_tutorials,
    interval,
    make_materials,
)
from tests.handwritten.contest import Loop, LoopFailed, Setting, rates
from tests.handwritten.turns import BATCH_SIZE, draw_batches

LOOPS = [
    *((name, f"{name}_loops", mode) for name in FRAMEWORKS for mode in environments.find(name).modes),
    *((name, f"tutorial_{name}", "tutorial") for name in FRAMEWORKS),
]


@pytest.fixture(scope="module", params=EXPERIMENTS)
def materials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, interpreters: Interpreters
) -> Materials:
    return make_materials(EXPERIMENTS[request.param], tmp_path_factory.mktemp("materials"), interpreters)


@pytest.mark.parametrize(("framework", "script", "mode"), LOOPS)
def test_a_loop_trains(
    materials: Materials, tmp_path: Path, interpreters: Interpreters, framework: str, script: str, mode: str
) -> None:
    model = next(model for model, name in EXPERIMENTS.items() if name == materials.name)
    python = interpreters.path(environments.find(framework))
    with closing(Loop(Setting(model, materials, python, 1, tmp_path), script, mode)) as loop:
        assert loop.train(1) > 0
        loop.train(1)
        assert loop.loss < np.log(10), "what a model that guesses has"
