"""A schedule changes the learning rate in every step, and nothing is compiled anew for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from backends.hosting import environments
from backends.hosting.environments import Interpreters

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "mode"), [("jax", "jit"), ("jax", "scan"), ("pytorch", "step")])
def test_another_learning_rate_compiles_nothing_anew(interpreters: Interpreters, name: str, mode: str) -> None:
    python = interpreters.path(environments.find(name))
    command = [str(python), "-m", "tests.backends.compiling", name, mode]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert before > 0, "what is counted is what it compiles"
    assert after == before
