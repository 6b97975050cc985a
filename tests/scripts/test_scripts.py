"""The scripts train what lockstep trains: run where lockstep is not, and compared with float64 as on the ladder."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import prepare_data
from benchmarks.script.rendering import Script
from benchmarks.spec import experiment as experiments
from results.proof.judge import judge
from tests.scripts.running import ScriptFailed, case_of, run

SABOTAGED = Path(__file__).parents[1] / "sabotage"
BUDGET = 60.0

SCRIPTS = [
    ("models.toml", "pytorch", "eager"),
    ("models.toml", "jax", "jit"),
    ("models.toml", "mindspore", "graph"),
    ("adam.toml", "pytorch", "step"),
    ("adam.toml", "jax", "scan"),
    ("adam.toml", "mindspore", "pynative"),
    ("linear-regression", "pytorch", "aot"),
]
"""Residual blocks, groups, clipping, smoothing and a schedule; AdamW and batch norm of features; a loss of numbers.

The other modes and all experiments: ``nox -s scripts``.
"""


@pytest.mark.parametrize(("name", "framework", "mode"), SCRIPTS)
def test_a_script_trains_what_lockstep_trains(
    tmp_path: Path, interpreters: Interpreters, name: str, framework: str, mode: str
) -> None:
    path = SABOTAGED / name if name.endswith(".toml") else experiments.find(name)
    experiment = experiments.load(path, {"epochs": 2})
    data = prepare_data(experiment, path.parent, interpreters)
    script = Script(path.stem, experiment, data.sizes, data.classes, environments.find(framework), mode, 1, exact=True)
    case = case_of(path.stem, experiment, data, tmp_path / "case")
    found = run(script, tmp_path / "script", interpreters, case, judge(case, BUDGET))
    assert found.steps == case.steps
    assert found.off <= 1
    assert not found.wrong_samples
    assert found.samples_per_second > 0


def test_a_script_that_takes_other_batches_does_not_agree(
    tmp_path: Path, interpreters: Interpreters, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = experiments.find("linear-regression")
    experiment = experiments.load(path, {"epochs": 2})
    data = prepare_data(experiment, path.parent, interpreters)
    script = Script(
        path.stem, experiment, data.sizes, data.classes, environments.find("pytorch"), "eager", 1, exact=True
    )
    case = case_of(path.stem, experiment, data, tmp_path / "case")
    judgement = judge(case, BUDGET)
    other = experiments.load(path, {"epochs": 2, "seed": 2})
    found = run(
        Script(path.stem, other, data.sizes, data.classes, script.backend, "eager", 1, exact=True),
        tmp_path / "script",
        interpreters,
        case,
        judgement,
    )
    assert found.off > 1


def test_a_script_that_fails_is_told_with_its_last_words(
    tmp_path: Path, interpreters: Interpreters, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = experiments.find("linear-regression")
    experiment = experiments.load(path, {"epochs": 1})
    data = prepare_data(experiment, path.parent, interpreters)
    script = Script(
        path.stem, experiment, data.sizes, data.classes, environments.find("pytorch"), "eager", 1, exact=True
    )
    case = case_of(path.stem, experiment, data, tmp_path / "case")
    monkeypatch.setattr("tests.scripts.running.render", lambda script: "raise SystemExit('out of luck')")
    with pytest.raises(ScriptFailed, match="out of luck"):
        run(script, tmp_path / "script", interpreters, case, judge(case, BUDGET))
