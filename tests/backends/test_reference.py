"""The reference as a backend: weights in and out, batches in their order, and what it says of itself."""

from __future__ import annotations

import itertools
import json
import math
import warnings

import numpy as np
import pytest

from backends.contract import SGD, Job, Loss, Model, Unavailable
from backends.float64.losses import LOSSES
from backends.float64.training import Training
from backends.reference import Reference
from tests.backends.float64.helpers import FLAT, KINKED, PLAIN, draw_parameters, draw_samples


def load(model: Model, loss: Loss, sgd: SGD) -> Reference:
    backend = Reference()
    backend.load(Job(model, loss, sgd, "numpy", draw_parameters(model)))
    return backend


def test_backend_returns_the_weights_it_was_given_to_the_bit() -> None:
    parameters = load(KINKED, "cross-entropy", PLAIN).parameters()
    expected = draw_parameters(KINKED)
    assert parameters.keys() == expected.keys()
    for name, value in expected.items():
        assert parameters[name].dtype == np.float32
        assert np.array_equal(parameters[name], value)


@pytest.mark.parametrize("loss", LOSSES)
def test_backend_trains_on_the_batches_in_their_order(loss: Loss) -> None:
    sgd = SGD(0.1, 0.9, True, 0.01)
    backend, training = load(KINKED, loss, sgd), Training(KINKED, loss, sgd, draw_parameters(KINKED))
    features, labels = draw_samples(KINKED, loss, 6)
    features.setflags(write=False)
    labels.setflags(write=False)
    data = backend.put(features, labels)
    batches = np.array([[5, 0], [2, 2], [1, 4], [3, 0]])
    before = backend.parameters()
    losses = [backend.synchronize(backend.train(data, part)) for part in (batches[:3], batches[3:])]
    expected = [training.step(features[list(batch)], labels[list(batch)]) for batch in batches]

    assert [part.dtype for part in losses] == [np.float32, np.float32]
    assert np.concatenate(losses).tolist() == np.array(expected, np.float32).tolist()
    logits = backend.predict(data)
    assert logits.dtype == np.float32
    assert np.array_equal(logits, training.logits(features).astype(np.float32))
    for name, value in backend.parameters().items():
        assert np.array_equal(value, training.parameters[name].astype(np.float32))
        assert np.array_equal(before[name], draw_parameters(KINKED)[name])


def test_divergence_is_told_by_the_losses_and_not_by_warnings() -> None:
    backend = load(FLAT, "mean-squared-error", SGD(1e6, 0.9, False, 0.0))
    data = backend.put(*draw_samples(FLAT, "mean-squared-error", 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = backend.synchronize(backend.train(data, np.tile(np.arange(4), (60, 1))))
        backend.predict(data)
        backend.parameters()
    assert math.isfinite(losses[0])
    assert not math.isfinite(losses[-1])


def test_a_gpu_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cpu only"):
        Reference().load(Job(FLAT, "cross-entropy", PLAIN, "numpy", draw_parameters(FLAT), device="gpu"))


def test_description_is_json_and_says_what_was_in_force() -> None:
    description = json.loads(json.dumps(load(FLAT, "cross-entropy", PLAIN).describe()))
    assert description["versions"]["numpy"] == np.__version__
    assert description["precision"] == "float64"
    assert description["threads"] is None
    assert description["device"]
    assert description["flushes_subnormals"] is False
    assert list(itertools.chain(Reference.modes, Reference.devices)) == ["numpy", "cpu"]
