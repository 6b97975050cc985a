"""What crosses into a worker comes back as it was, and what is added later has a default."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace

import numpy as np
import pytest

from backends.contract import (
    GELU,
    LAYERS,
    SGD,
    Adam,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Job,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Model,
    Optimizer,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    job_from_json,
    job_to_json,
    named_layers,
)

BLOCK = Residual(
    (
        Conv2d(4, 8, (3, 1), (2, 1), (1, 0), groups=2, bias=False),
        BatchNorm(8, 0.2, 1e-3),
        Residual((LeakyReLU(0.1), GELU(tanh=True), SiLU())),
    ),
    (Conv2d(4, 8, (1, 1), (2, 1), (0, 0)), BatchNorm(8, 0.1, 1e-5)),
)
MODEL_LAYERS = (
    Conv2d(1, 4, (3, 3), (1, 1), (1, 1)),
    ReLU(),
    MaxPool2d((2, 2), (2, 2)),
    Tanh(),
    BLOCK,
    Softplus(),
    AvgPool2d((2, 3), (1, 2), (1, 0)),
    GELU(tanh=False),
    GlobalAvgPool2d(),
    Sigmoid(),
    Flatten(),
    Linear(8, 3, bias=False),
)
PARAMETERS = {"0.bias": np.zeros(2, np.float32)}
JOB = Job(
    Model((1, 8, 8), MODEL_LAYERS),
    "cross-entropy",
    SGD(0.1, 0.9, True, 0.01),
    "eager",
    PARAMETERS,
    device="gpu",
    input="loader",
    precision="tf32",
    replicas=2,
    label_smoothing=0.1,
    scheduled=True,
    stock=True,
)
OPTIMIZERS = (
    SGD(0.1, 0.0, False, 0.0, clip_norm=0.5),
    Adam(0.1, 0.8, 0.99, 1e-3, 0.01, decoupled=False, clip_norm=0.5),
    Adam(0.1, 0.8, 0.99, 1e-3, 0.01, decoupled=True),
)


def values(job: Job) -> dict[str, object]:
    return {item.name: getattr(job, item.name) for item in fields(Job)}


def test_a_job_crosses_into_a_worker_as_json_and_its_parameters_beside_it() -> None:
    written = json.loads(json.dumps(job_to_json(JOB)))
    assert "parameters" not in written
    assert values(job_from_json(written, PARAMETERS)) == values(JOB)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_comes_back_as_it_was(optimizer: Optimizer) -> None:
    written = json.loads(json.dumps(job_to_json(replace(JOB, optimizer=optimizer))))
    assert job_from_json(written, PARAMETERS).optimizer == optimizer


def test_every_kind_of_layer_is_in_that_job() -> None:
    """Or the first test would not see one that does not come back."""
    inside = [layer for _, layer in named_layers(MODEL_LAYERS)]
    assert {type(layer) for layer in inside} | {Residual} == set(LAYERS.values())


def test_layers_in_residual_blocks_are_named_by_their_place() -> None:
    names = [name for name, _ in named_layers(MODEL_LAYERS)]
    inside = [
        "layers.0",
        "layers.1",
        "layers.2.layers.0",
        "layers.2.layers.1",
        "layers.2.layers.2",
        "shortcut.0",
        "shortcut.1",
    ]
    assert names == [*"0123", *(f"4.{name}" for name in inside), *map(str, range(5, 12))]


def test_every_field_differs_from_its_default_in_that_job() -> None:
    """Or the test above would not see a field that is forgotten."""
    for item in fields(Job):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        assert getattr(JOB, item.name) != default, item.name


def test_a_request_that_does_not_know_a_field_gets_its_default() -> None:
    written = job_to_json(JOB)
    del written["replicas"]
    assert values(job_from_json(written, PARAMETERS)) == values(replace(JOB, replicas=1))
