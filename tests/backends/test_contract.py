"""What crosses into a worker comes back as it was, and what is added later has a default."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace

import numpy as np

from backends.contract import (
    SGD,
    AvgPool2d,
    Conv2d,
    Flatten,
    Job,
    Linear,
    MaxPool2d,
    Model,
    ReLU,
    Tanh,
    job_from_json,
    job_to_json,
)

LAYERS = (
    Conv2d(1, 2, (3, 3), (1, 1), (1, 1)),
    ReLU(),
    MaxPool2d((2, 2), (2, 2)),
    Tanh(),
    AvgPool2d((2, 2), (1, 1)),
    Flatten(),
    Linear(18, 3),
)
PARAMETERS = {"0.bias": np.zeros(2, np.float32)}
JOB = Job(
    Model((1, 8, 8), LAYERS),
    "cross-entropy",
    SGD(0.1, 0.9, True, 0.01),
    "eager",
    PARAMETERS,
    device="gpu",
    input="loader",
    precision="tf32",
    replicas=2,
    stock=True,
)


def values(job: Job) -> dict[str, object]:
    return {item.name: getattr(job, item.name) for item in fields(Job)}


def test_a_job_crosses_into_a_worker_as_json_and_its_parameters_beside_it() -> None:
    written = json.loads(json.dumps(job_to_json(JOB)))
    assert "parameters" not in written
    assert values(job_from_json(written, PARAMETERS)) == values(JOB)


def test_every_field_differs_from_its_default_in_that_job() -> None:
    """Or the test above would not see a field that is forgotten."""
    for item in fields(Job):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        assert getattr(JOB, item.name) != default, item.name


def test_a_request_that_does_not_know_a_field_gets_its_default() -> None:
    written = job_to_json(JOB)
    del written["replicas"]
    assert values(job_from_json(written, PARAMETERS)) == values(replace(JOB, replicas=1))
