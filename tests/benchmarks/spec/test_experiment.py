"""An experiment file is read strictly, and what is wrong with it is said in one line: file, key, remedy."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from backends.contract import SGD, Linear
from benchmarks.errors import InputError
from benchmarks.spec import experiment as experiments

GOOD = """
description = "a test"
layers = [{ layer = "flatten" }, { layer = "linear", outputs = 10 }]
loss = "cross-entropy"
batch_size = 32
epochs = 1
[data]
name = "digits"
[sgd]
learning_rate = 0.1
"""


HASHES = {"digits-mlp": "0b74e9b2931b", "digits-cnn": "c1b13210e979", "cifar10-cnn": "1f094e754ff8"}
"""Beginnings of the hashes that these had before there were other layers, optimizers, and schedules."""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_good_file_is_read_with_the_defaults_filled_in(tmp_path: Path) -> None:
    experiment = experiments.load(write(tmp_path, GOOD))
    assert (experiment.seed, experiment.validation, experiment.optimizer) == (1, 0.0, SGD(0.1, 0.0, False, 0.0))
    assert experiment.input == "resident"
    assert experiment.model.layers[1] == Linear(64, 10)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("batch_size", "batchsize"), ["unknown key 'batchsize'", "batch_size"]),
        (("learning_rate = 0.1", "learning_rate = -0.1"), ["sgd.learning_rate", "greater than 0", "-0.1"]),
        (("learning_rate = 0.1", "learning_rate = nan"), ["sgd.learning_rate", "finite"]),
        (("epochs = 1", 'epochs = "1"'), ["epochs", "integer", "'1'"]),
        (("epochs = 1", ""), ["epochs", "required"]),
        (("epochs = 1", "epochs = 1000000000"), ["epochs", "less than or equal to 10000"]),
        (('{ layer = "flatten" }, ', ""), ["layers[0] (linear)", "(1, 8, 8)", "flatten"]),
        (("outputs = 10", "outputs = 9"), ["layers[1] (linear)", "(9,)", "10 classes"]),
        (("outputs = 10", "outputs = 10, biass = 2"), ["layers[1]", "unknown key 'biass'", "'bias'"]),
        (("[sgd]", "[adam]\nbeta1 = 1.0"), ["adam.beta1", "less than 1"]),
        (("[sgd]", "[adam]\nlearning_rate = 0.1\n[sgd]"), ["one optimizer", "[sgd] and [adam]"]),
        (("[sgd]\nlearning_rate = 0.1", ""), ["one optimizer", "none"]),
        (("[sgd]", '[schedule]\nname = "cosine"\nwarm_up = 2.0\n[sgd]'), ["schedule.warm_up", "2 epochs", "1"]),
        (("[sgd]", '[schedule]\nname = "step"\n[sgd]'), ["schedule", "either every or at"]),
        (("[sgd]", '[schedule]\nname = "poly"\n[sgd]'), ["schedule", "poly", "cosine"]),
        (("[sgd]", '[initial]\nweights = "normal"\n[sgd]'), ["initial", "spread"]),
        (("epochs = 1", "epochs = 1\nlabel_smoothing = 1.0"), ["label_smoothing", "less than 1"]),
        (("batch_size = 32", "batch_size = 1"), ["batch_size", "batch_norm", "at least 2"]),
        (('"flatten" }', '"conv2d", channels = 4, kernel = [3, 0] }'), ["layers[0].kernel", "[height, width]", "0"]),
        (('"flatten" }', '"conv2d", channels = 4, kernel = 3, groups = 2 }'), ["layers[0] (conv2d)", "groups = 2"]),
        (('"flatten" }', '"max_pool2d", kernel = 2, padding = 2 }'), ["layers[0] (max_pool2d)", "half"]),
        (
            ('"flatten" }', '"residual", layers = [{ layer = "conv2d", channels = 4, kernel = 3 }] }'),
            ["layers[0] (residual)", "(4, 6, 6)", "(1, 8, 8)"],
        ),
        (
            (
                '"flatten" }',
                '"residual", layers = [{ layer = "relu" }, { layer = "conv2d", channels = 4, kernel = 9 }] }',
            ),
            ["layers[0] (residual)", "its layers[1] (conv2d)", "9 x 9"],
        ),
        (('"linear"', '"dense"'), ["layers[1]", "dense", "linear"]),
        (('"digits"', '"digit"'), ["data", "digit", "mnist"]),
        (('"cross-entropy"', '"mean-squared-error"'), ["loss", "mean-squared-error", "cross-entropy"]),
        (("learning_rate = 0.1", "learning_rate = 0.1\nnesterov = true"), ["sgd", "nesterov", "momentum"]),
        (('"flatten" }', '"conv2d", channels = 4, kernel = 9 }'), ["layers[0] (conv2d)", "(1, 8, 8)", "9 x 9"]),
        (("epochs = 1", 'epochs = 1\ninput = "stream"'), ["input", "'resident' or 'loader'", "stream"]),
        (("[data]", "[data"), ["not valid TOML"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], expected: list[str]) -> None:
    assert change[0] in GOOD
    text = GOOD.replace(*change)
    if "batch_norm" in expected:
        text = text.replace('{ layer = "linear"', '{ layer = "batch_norm" }, { layer = "linear"')
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        experiments.load(path)
    message = str(error.value)
    assert "\n" not in message
    for part in [str(path), *expected]:
        assert part in message


def test_a_model_too_large_to_train_is_refused_with_its_size(tmp_path: Path) -> None:
    wide = '{ layer = "linear", outputs = 65536 }, '
    path = write(tmp_path, GOOD.replace('{ layer = "linear"', wide + wide + '{ layer = "linear"'))
    with pytest.raises(InputError, match="4,299,948,042 parameters"):
        experiments.load(path)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean 'digits-mlp'"):
        experiments.find("digit-mlp")


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_that_comes_with_lockstep_is_valid_and_points_to_the_schema(name: str) -> None:
    path = experiments.find(name)
    experiments.load(path)
    assert path.read_text().startswith("#:schema ./experiment.schema.json\n")


def test_the_default_set_holds_what_the_project_promises() -> None:
    chosen = [experiments.load(experiments.find(name)) for name in experiments.names()]
    sets = {item.data.name for item in chosen if item.default}
    assert {"digits", "linear-regression", "generated-images"} <= sets


def test_the_schema_beside_the_experiments_is_the_present_one() -> None:
    written = (experiments.FOLDER / "experiment.schema.json").read_text()
    assert written == experiments.json_schema(), "run: lockstep schema > benchmarks/experiments/experiment.schema.json"
    assert json.loads(written)["properties"]["batch_size"]["minimum"] == 1


def test_the_hash_is_of_what_is_trained_not_of_how_it_is_described(tmp_path: Path) -> None:
    def hash_of(text: str) -> str:
        return experiments.load(write(tmp_path, text)).hash

    def changed(**values: Any) -> str:
        return experiments.Experiment.model_validate({**tomllib.loads(GOOD), **values}).hash

    assert hash_of(GOOD) == changed(description="other words", default=False)
    assert (
        len({hash_of(GOOD), changed(seed=2), changed(batch_size=31), changed(epochs=2), changed(input="loader")}) == 5
    )


@pytest.mark.parametrize(("name", "beginning"), HASHES.items())
def test_keys_that_were_added_leave_the_hash_of_older_experiments_as_it_was(name: str, beginning: str) -> None:
    assert experiments.load(experiments.find(name)).hash.startswith(beginning)


def test_a_key_that_was_added_enters_the_hash_once_it_says_something(tmp_path: Path) -> None:
    def changed(**values: Any) -> str:
        return experiments.Experiment.model_validate({**tomllib.loads(GOOD), **values}).hash

    layers: list[dict[str, Any]] = [{"layer": "flatten"}, {"layer": "linear", "outputs": 10, "bias": False}]
    hashes = {
        changed(),
        changed(label_smoothing=0.1),
        changed(layers=layers),
        changed(schedule={"name": "cosine"}),
        changed(initial={"weights": "he"}),
        changed(sgd={"learning_rate": 0.1, "clip_norm": 1.0}),
    }
    assert len(hashes) == 6


def test_overrides_reach_into_tables_and_are_validated() -> None:
    path = experiments.find("digits-mlp")
    changed = experiments.load(path, {"sgd.momentum": 0.5, "data.samples": 200, "epochs": 2})
    assert changed.sgd
    assert (changed.sgd.momentum, changed.data.samples, changed.epochs) == (0.5, 200, 2)
    for overrides, message in (
        ({"sgd.momentun": 0.5}, "did you mean 'momentum'"),
        ({"epochs.x": 1}, "'epochs' is no table"),
        ({"sgd.momentum": 2.0}, "sgd.momentum: Input should be less than 1"),
    ):
        with pytest.raises(InputError, match=message):
            experiments.load(path, overrides)


def test_one_replica_is_the_experiment_that_it_was_and_several_are_another(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    alone, two = experiments.load(path), experiments.load(path, {"replicas": 2})
    assert experiments.load(path, {"replicas": 1}).hash == alone.hash != two.hash
    before = experiments.load(experiments.find("digits-mlp")).hash
    assert before.startswith("0b74e9b2931b0ce2"), "the hash of results/reference, which is older than replicas"
