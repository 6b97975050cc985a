"""What one framework has trained, every other one uses, with the same answer within rounding."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.kept_models import find_model
from benchmarks.cell.materials import Start
from benchmarks.cell.predicting import Predictor, score_test_set, see, softmax
from benchmarks.commands.bench import bench
from benchmarks.data.pictures import Change
from benchmarks.errors import InputError
from benchmarks.session.exit_codes import OK
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from results.store import Store

BLOCKS = """
description = "Batch normalization, residual blocks and groups"
layers = [
  { layer = "conv2d", channels = 8, kernel = 3, padding = 1, bias = false },
  { layer = "batch_norm" },
  { layer = "relu" },
  { layer = "residual", layers = [
    { layer = "conv2d", channels = 16, kernel = 3, stride = 2, padding = 1, bias = false },
    { layer = "batch_norm" },
    { layer = "relu" },
    { layer = "conv2d", channels = 16, kernel = 3, padding = 1, groups = 4, bias = false },
    { layer = "batch_norm" },
  ], shortcut = [
    { layer = "conv2d", channels = 16, kernel = 1, stride = 2, bias = false },
    { layer = "batch_norm" },
  ] },
  { layer = "relu" },
  { layer = "max_pool2d", kernel = 2 },
  { layer = "flatten" },
  { layer = "linear", outputs = 10 },
]
loss = "cross-entropy"
batch_size = 64
epochs = 2

[data]
name = "digits"

[sgd]
learning_rate = 0.05
momentum = 0.9
"""
"""Layers whose weights have another order, or other names, in each framework."""

FRAMEWORKS = {"pytorch": "eager", "jax": "jit", "mindspore": "graph", "reference": "numpy"}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with batch normalization, residual blocks and groups."""
    path = tmp_path_factory.mktemp("experiment") / "blocks.toml"
    path.write_text(BLOCKS)
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, interpreters: Interpreters, blocks: Path) -> Path:
    """Runs of two experiments in the three frameworks, with their models."""
    folder = tmp_path_factory.mktemp("models")
    experiments = [str(blocks), "linear-regression"]
    trainers = [name for name in FRAMEWORKS if name != "reference"]
    pythons = {name: str(interpreters.path(environments.find(name))) for name in trainers}
    selection = Selection(experiments, trainers, ["eager", "jit", "graph"], threads=1, overrides={"epochs": 2})
    options = Options(1, turns=0, peaks=False, keep_models=True)
    assert bench(selection, options, pythons, folder, Console(file=StringIO())) == OK
    return folder


@pytest.fixture
def predictor(results: Path, interpreters: Interpreters):
    def predictor(experiment: str, trained_by: str, used_by: str) -> Predictor:
        runs = Store(results).runs().set_index(["experiment", "backend"])
        model = find_model(str(runs.loc[(experiment, trained_by), "run"]), results)
        return Predictor(model, environments.find(used_by), FRAMEWORKS[used_by], "cpu", interpreters)

    return predictor


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    Image.fromarray(generator.integers(0, 256, (8, 8), np.uint8)).save(grey)
    Image.fromarray(generator.integers(0, 256, (30, 20, 3), np.uint8)).save(colour)
    return [grey, colour]


@pytest.mark.parametrize("trained_by", ["pytorch", "jax", "mindspore"])
def test_every_pair_of_frameworks_sees_the_same_in_pictures(predictor, pictures: list[Path], trained_by: str) -> None:
    expected = see(predictor("blocks", trained_by, "reference"), pictures)
    for used_by in FRAMEWORKS:
        for seen, reference in zip(see(predictor("blocks", trained_by, used_by), pictures), expected, strict=True):
            assert sum(seen.probabilities.values()) == pytest.approx(1)
            assert seen.probabilities == pytest.approx(reference.probabilities, abs=1e-5), used_by


@pytest.mark.parametrize("experiment", ["blocks", "linear-regression"])
def test_the_test_set_is_scored_as_after_the_epoch_of_the_model(predictor, results: Path, experiment: str) -> None:
    epochs, runs = Store(results).epochs(), Store(results).runs()
    for trained_by, used_by in [("pytorch", "jax"), ("jax", "mindspore"), ("mindspore", "pytorch")]:
        chosen = predictor(experiment, trained_by, used_by)
        (run,) = runs[(runs["experiment"] == experiment) & (runs["backend"] == trained_by)]["run"]
        row = epochs[(epochs["run"] == run) & (epochs["epoch"] == chosen.model.epoch)].iloc[0]
        score = score_test_set(chosen)
        assert score.loss == pytest.approx(row["test_loss"], rel=1e-5)
        if experiment == "blocks":
            assert score.accuracy == pytest.approx(row["test_accuracy"], abs=2 / 360), "a close call may differ"


def test_the_changes_of_a_picture_are_told(predictor, pictures: list[Path]) -> None:
    grey, colour = see(predictor("blocks", "pytorch", "reference"), pictures)
    assert grey.changes == ()
    assert colour.changes == (Change("converted to L", "RGB"), Change("resized to 8x8 pixels", "20x30"))
    assert list(grey.probabilities.values()) == sorted(grey.probabilities.values(), reverse=True)


def test_a_model_sees_its_own_training_pictures_as_in_training(
    predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    path = tmp_path / "digit.png"
    # The digits' pixels end at 16, a picture's at 255.
    Image.fromarray((digits.images[0] * 255 / 16).round().astype(np.uint8)).save(path)
    chosen = predictor("blocks", "pytorch", "reference")
    (seen,) = see(chosen, [path])
    features, labels = tmp_path / "features.npy", tmp_path / "labels.npy"
    np.save(features, (digits.images[:1, None] / 16).astype(np.float32))
    np.save(labels, np.zeros(1, np.int32))
    expected = softmax(chosen.outputs(features, labels))[0]
    assert [seen.probabilities[name] for name in chosen.model.classes] == pytest.approx(expected, abs=0.02)


def test_a_regression_takes_no_pictures(predictor, pictures: list[Path]) -> None:
    with pytest.raises(InputError, match="not on pictures; use --data test"):
        see(predictor("linear-regression", "jax", "reference"), pictures)


def test_a_backend_that_dies_is_told_with_what_it_last_printed(predictor, pictures: list[Path], write_backend) -> None:
    dying = "def load(self, job):\n    print('no licence for this machine', flush=True)\n    os._exit(3)"
    backend = environments.read(write_backend("dying", dying))
    used = replace(predictor("blocks", "jax", "reference"), backend=backend)
    with pytest.raises(InputError, match=r"dying numpy: the worker exited with code 3.*no licence for this machine"):
        see(used, pictures)


def test_training_goes_on_from_kept_weights_in_another_framework(
    results: Path, interpreters: Interpreters, blocks: Path
) -> None:
    runs = Store(results).runs()
    trained = str(runs.loc[(runs["experiment"] == "blocks") & (runs["backend"] == "pytorch"), "run"].iloc[0])
    model = find_model(f"{trained}:last", results)
    python = str(interpreters.path(environments.find("jax")))
    selection = Selection(
        [str(blocks)], ["jax"], ["jit"], threads=1, overrides={"epochs": 1}, start=Start(model.label, model.parameters)
    )
    bench(selection, Options(1, turns=0, peaks=False), {"jax": python}, results, Console(file=StringIO()))
    last = Store(results).runs().iloc[-1]
    assert (last["status"], last["weights_from"]) == ("ok", model.label)
    losses = Store(results).epochs().set_index(["run", "epoch"])["test_loss"]
    assert losses[last["run"], 0] == pytest.approx(losses[trained, 2], rel=1e-5)
