"""The scripts train what lockstep trains: run where lockstep is not, and compared with float64 as on the ladder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import prepare_data
from benchmarks.script.rendering import Script
from benchmarks.spec import experiment as experiments
from results.proof.judge import Case, judge
from tests.scripts.running import Agreement, ScriptFailed, case_of, run

SABOTAGED = Path(__file__).parents[1] / "sabotage"
BUDGET = 60.0

SCRIPTS = [
    ("models.toml", "pytorch", "eager"),
    ("models.toml", "jax", "jit"),
    ("models.toml", "mindspore", "graph"),
    ("adam.toml", "pytorch", "step"),
    ("adam.toml", "jax", "scan"),
]
"""Residual blocks, groups, clipping, smoothing and a schedule; AdamW and batch norm of features.

The other modes and all experiments: ``nox -s scripts``.
"""


@pytest.fixture
def compare(tmp_path: Path, interpreters: Interpreters) -> Callable[..., tuple[Agreement, Case]]:
    """Run the script of an experiment, or of ``other``, which differs from it, and compare it with the experiment."""

    def compare(name: str, framework: str, mode: str, **other: Any) -> tuple[Agreement, Case]:
        path = SABOTAGED / name if name.endswith(".toml") else experiments.find(name)
        experiment = experiments.load(path, {"epochs": 2})
        data = prepare_data(experiment, path.parent, interpreters)
        case = case_of(path.stem, experiment, data, tmp_path / "case")
        written = experiments.load(path, {"epochs": 2, **other})
        script = Script(path.stem, written, data.sizes, data.classes, environments.find(framework), mode, 1, exact=True)
        return run(script, tmp_path / "script", interpreters, case, judge(case, BUDGET)), case

    return compare


@pytest.mark.parametrize(("name", "framework", "mode"), SCRIPTS)
def test_a_script_trains_what_lockstep_trains(
    compare: Callable[..., tuple[Agreement, Case]], name: str, framework: str, mode: str
) -> None:
    found, case = compare(name, framework, mode)
    assert found.steps == case.steps
    assert found.off <= 1
    assert not found.wrong_samples
    assert found.samples_per_second > 0


def test_a_script_that_takes_other_batches_does_not_agree(compare: Callable[..., tuple[Agreement, Case]]) -> None:
    found, _ = compare("linear-regression", "pytorch", "eager", seed=2)
    assert found.off > 1


def test_a_script_that_fails_is_told_with_its_last_words(
    compare: Callable[..., tuple[Agreement, Case]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.scripts.running.render", lambda script: "raise SystemExit('out of luck')")
    with pytest.raises(ScriptFailed, match="out of luck"):
        compare("linear-regression", "pytorch", "eager")
