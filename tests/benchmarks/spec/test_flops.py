"""The operations of a step are those of its products, and the same as PyTorch's own counter finds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from backends.contract import (
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Model,
    ReLU,
    Residual,
    Tanh,
    model_to_json,
)
from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.spec import experiment
from benchmarks.spec.flops import step_flops
from benchmarks.spec.shapes import parameter_shapes

REPOSITORY = Path(environments.FOLDER).parent


def test_a_single_linear_layer_takes_a_product_forward_and_one_for_its_weights() -> None:
    assert step_flops(Model((3,), (Linear(3, 5),)), 7) == 2 * (2 * 7 * 3 * 5)


def test_a_later_layer_takes_a_third_product_for_the_gradient_of_its_input() -> None:
    model = Model((3,), (Linear(3, 5), Tanh(), Linear(5, 2)))
    assert step_flops(model, 7) == 2 * (2 * 7 * 3 * 5) + 3 * (2 * 7 * 5 * 2)


def test_no_gradient_goes_through_layers_before_the_first_one_with_parameters() -> None:
    model = Model((3, 4, 4), (MaxPool2d((2, 2), (2, 2)), ReLU(), Flatten(), Linear(12, 5)))
    assert step_flops(model, 7) == 2 * (2 * 7 * 12 * 5)


def test_a_convolution_is_a_product_at_every_position_of_its_kernel() -> None:
    model = Model(
        (3, 9, 7), (Conv2d(3, 8, kernel=(3, 3), stride=(2, 2), padding=(1, 1)), Flatten(), Linear(8 * 5 * 4, 10))
    )
    convolution, linear = 2 * 6 * (5 * 4) * 8 * 3 * 3 * 3, 2 * 6 * 160 * 10
    assert step_flops(model, 6) == 2 * convolution + 3 * linear


def test_a_group_sees_its_own_channels_alone() -> None:
    """PyTorch's counter is no witness of that: findings/torch-flop-counter-ignores-groups.sh."""
    convolutions = [Conv2d(4, 8, (3, 3), (1, 1), (1, 1), groups=groups) for groups in (1, 4)]
    whole, grouped = (step_flops(Model((4, 6, 5), (layer, Flatten())), 2) for layer in convolutions)
    assert whole == 2 * (2 * 2 * 8 * 30 * 4 * 9)
    assert grouped == whole // 4


COUNT = """
import json, sys
import numpy as np
from torch.utils.flop_counter import FlopCounterMode
from backends.contract import SGD, Job, model_from_json
from backends.pytorch import PyTorch

values = json.load(sys.stdin)
model = model_from_json(values["model"])
parameters = {name: np.full(shape, 0.01, np.float32) for name, shape in values["parameters"].items()}
backend = PyTorch()
backend.load(Job(model, "cross-entropy", SGD(0.1, 0.9, False, 0.01), "eager", parameters))
data = backend.put(np.ones((5, *model.input_shape), np.float32), np.zeros(5, np.int32))
with FlopCounterMode(display=False) as counter:
    backend.train(data, np.arange(5).reshape(1, 5))
print(counter.get_total_flops())
"""

MODELS = {
    "digits-mlp": experiment.load(experiment.find("digits-mlp")).model,
    "digits-cnn": experiment.load(experiment.find("digits-cnn")).model,
    "cifar10-cnn": experiment.load(experiment.find("cifar10-cnn")).model,
    "digits-resnet": experiment.load(experiment.find("digits-resnet")).model,
    "a block first, a rectangular kernel": Model(
        (4, 9, 8),
        (
            Residual(
                (
                    Conv2d(4, 6, (3, 1), (2, 2), (1, 0), bias=False),
                    ReLU(),
                    Conv2d(6, 6, (1, 1), (1, 1), (0, 0)),
                ),
                (Conv2d(4, 6, (1, 1), (2, 2), (0, 0)),),
            ),
            GlobalAvgPool2d(),
            Linear(6, 3, bias=False),
        ),
    ),
    "pool first, strides, borders that are dropped": Model(
        (2, 13, 11),
        (
            AvgPool2d((2, 2), (1, 1)),
            Conv2d(2, 4, kernel=(3, 3), stride=(2, 2), padding=(0, 0)),
            ReLU(),
            Conv2d(4, 6, kernel=(2, 2), stride=(3, 3), padding=(2, 2)),
            MaxPool2d((2, 2), (1, 1)),
            Flatten(),
            Linear(6 * 2 * 2, 3),
        ),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_pytorchs_own_counter_finds_the_same_in_a_real_step(interpreters: Interpreters, name: str) -> None:
    model = MODELS[name]
    job = json.dumps({"model": model_to_json(model), "parameters": parameter_shapes(model)})
    python = interpreters.path(environments.find("pytorch"))
    counted = subprocess.run(
        [str(python), "-c", COUNT], input=job, capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert step_flops(model, 5) == int(counted.stdout)
