"""Weights and batch order are drawn once from the seed, and are the same for every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.cell import materials
from benchmarks.cell.materials import Materials, Start, draw
from benchmarks.data import prepare
from benchmarks.errors import InputError
from benchmarks.spec import experiment as experiments
from tests.benchmarks.data.helpers import NO_TORCHVISION


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(folder: str, start: Start | None = None, **overrides: object) -> Materials:
        experiment = experiments.load(experiments.find("digits-mlp"), overrides)
        data = prepare(experiment.data, experiment.validation, tmp_path, NO_TORCHVISION)
        return draw("digits-mlp", experiment, data, tmp_path / folder, start=start)

    return make


def test_every_epoch_is_a_permutation_of_the_training_set_and_keeps_the_short_last_batch(make) -> None:
    drawn = make("a", batch_size=100, epochs=3)
    full, last = np.load(drawn.batches), np.load(drawn.last_batches)
    samples = drawn.data.sizes["train"]
    assert full.dtype == np.int64
    assert drawn.last_batch == samples % 100 > 0
    assert drawn.steps_per_epoch == -(-samples // 100)
    epochs = full.reshape(3, -1)
    for epoch in range(3):
        assert sorted([*epochs[epoch], *last[epoch]]) == list(range(samples))
    assert not np.array_equal(epochs[0], epochs[1])


def test_the_seed_alone_decides(make) -> None:
    one, same, other = make("a"), make("b"), make("c", seed=2)
    assert (one.weights_hash, one.batches_hash) == (same.weights_hash, same.batches_hash)
    assert one.weights_hash != other.weights_hash
    assert one.batches_hash != other.batches_hash
    for name, values in load_file(one.parameters).items():
        np.testing.assert_array_equal(values, load_file(same.parameters)[name])


def test_given_weights_take_the_place_of_drawn_ones_and_batches_stay(make) -> None:
    drawn = make("a")
    moved = {name: values + 1 for name, values in load_file(drawn.parameters).items()}
    started = make("b", start=Start("run r after epoch 3", moved))
    np.testing.assert_array_equal(load_file(started.parameters)["1.bias"], moved["1.bias"])
    assert started.batches_hash == drawn.batches_hash
    assert drawn.start is None
    assert started.start


def test_weights_of_another_model_are_refused_with_the_first_that_differs(make) -> None:
    given = load_file(make("a").parameters)
    for wrong, text in [
        ({**given, "1.weight": np.zeros((3, 64), np.float32)}, r"1\.weight is \(3, 64\), and here it is \(64, 64\)"),
        ({name: values for name, values in given.items() if name != "5.bias"}, r"5\.bias is absent"),
        ({**given, "9.bias": np.zeros(3, np.float32)}, r"9\.bias is \(3,\), and here it is absent"),
    ]:
        with pytest.raises(InputError, match=text):
            make("b", start=Start("run r", wrong))


def test_a_batch_larger_than_the_training_set_is_refused_with_the_figure(make) -> None:
    with pytest.raises(InputError, match=r"batch_size: 5,000 is more than the 1,2\d\d training samples"):
        make("a", batch_size=5000)


def test_an_order_that_would_not_fit_into_memory_is_refused(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materials, "LARGEST_ORDER", 1_000_000)
    with pytest.raises(InputError, match="epochs: 10,000 x"):
        make("a", epochs=10_000)


def test_a_last_batch_that_is_too_short_for_the_replicas_is_refused_with_the_figures(make) -> None:
    with pytest.raises(InputError, match="replicas: 15 cannot share the last batch of an epoch, which has 14"):
        make("a", batch_size=32, replicas=15)
    assert make("b", batch_size=32, replicas=14).last_batch == 14
