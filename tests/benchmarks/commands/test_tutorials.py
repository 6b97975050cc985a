"""The tutorials' table says what was reached, what is missing, and how far apart equal work may end."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from benchmarks.commands import tutorials
from benchmarks.commands.tutorials import (
    TUTORIALS,
    Course,
    Tutorial,
    best_accuracy,
    final_accuracy,
    half_losses,
    in_words,
    over_fitting,
)
from benchmarks.spec import experiment as experiments
from results.store import Store

RUN = pd.Series({"test_accuracy": 0.6, "test_loss": 1.2, "best_epoch": 1, "weight_error": 0.0004, "bias_error": 0.002})
EPOCHS = pd.DataFrame(
    {
        "epoch": [0, 1, 2, 3],
        "train_loss": [None, 1.5, 0.8, 0.3],
        "validation_loss": [2.3, 1.1, 1.0, 1.6],
        "validation_accuracy": [0.1, 0.7, 0.65, 0.6],
        "test_loss": [2.3, 0.06, 0.0002, 0.0001],
        "test_accuracy": [0.1, 0.5, 0.66, 0.6],
    }
)


def run(names: list[str], results: Path, mode: str = "jit") -> tuple[int, str]:
    console = Console(file=StringIO(), width=200)
    code = Course({}, results, console).run(names, [mode])
    return code, (results / tutorials.PAGE).read_text()


def test_every_tutorial_is_an_experiment_that_says_so() -> None:
    for tutorial in TUTORIALS:
        for name in tutorial.experiments:
            assert not experiments.load(experiments.find(name)).default, "they take longer than a bench without names"


def test_what_is_reached_is_told_in_the_tutorials_terms() -> None:
    assert final_accuracy(RUN, EPOCHS) == "60.00%, loss 1.2000"
    assert best_accuracy(RUN, EPOCHS) == "66.00% after epoch 2; last 60.00%, loss 1.2000"
    assert half_losses(RUN, EPOCHS) == "loss 0.03, 0.0001, 5e-05; w off by 0.0004, b by 0.002"
    assert over_fitting(RUN, EPOCHS) == (
        "validation loss 1.000 after epoch 2, 1.600 at the end, training loss 0.800 and 0.300; "
        "best validation accuracy 70.0% after epoch 1"
    )


def test_a_tutorial_is_run_and_its_table_is_kept(tmp_path: Path) -> None:
    code, text = run(["linear-regression-concise"], tmp_path)
    assert code == 0
    heading, _, row = text.splitlines()[:3]
    assert [cell.strip() for cell in heading.strip("|").split("|")] == [
        "tutorial",
        "it reports",
        "jax jit",
        "they agree within",
        "equal work proved",
    ]
    assert "Linear regression, concise" in row
    assert "all 300 steps" in row
    assert "Seed 1; " in text
    assert "jax 0." in text
    assert "linear-regression-concise 100." in text, "iterations per epoch"
    found = Store(tmp_path).runs().iloc[0]
    assert found["weight_error"] < 0.01
    assert found["bias_error"] < 0.01
    assert set(found["models"]) == {"last"}, "there is no validation set, so nothing is best"


def test_missing_data_is_told_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "nothing"))
    code, text = run(["cifar10-cnn-pictures"], tmp_path / "results")
    assert code == 1
    assert "CIFAR-10 CNN was not run: data.path: there is no folder" in text
    assert "cifar10-jpeg/train/CLASS" in text


def test_where_the_reference_cannot_follow_chaos_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tutorial = Tutorial(("digits-mlp",), "Digits", "nothing", best_accuracy)
    monkeypatch.setattr(tutorials, "TUTORIALS", (tutorial,))
    monkeypatch.setattr(tutorials, "JUDGE_BUDGET", 0.0)
    code, text = run([], tmp_path)
    assert code == 0
    assert "of 410 steps; jax itself from weights moved by one unit in the last place: 9" in text
    runs = Store(tmp_path).runs()
    assert list(runs["weights_from"]) == ["", f"{tutorials.MOVED}, copy 1", f"{tutorials.MOVED}, copy 2"]
    assert runs["weights_hash"].nunique() == 3


def test_a_training_that_diverged_is_told_with_what_it_reached_before() -> None:
    diverged = pd.Series({**RUN, "run": "r", "status": "diverged", "reason": "the training loss is nan at step 9"})
    text = in_words(best_accuracy, diverged, EPOCHS.assign(run="r"))
    assert text.startswith("66.00% after epoch 2;")
    assert text.endswith("; then diverged: the training loss is nan at step 9")
