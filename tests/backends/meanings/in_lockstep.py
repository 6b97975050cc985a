"""Measure what can be measured of the column "lockstep" of backends/MEANINGS.md: by the float64 reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from backends import contract
from backends.contract import SGD, Adam
from backends.float64.layers import OPERATIONS
from backends.float64.losses import cross_entropy, mean_squared_error
from backends.float64.optimizers import clipped, update
from benchmarks.spec import layers as spec
from benchmarks.spec.optimizers import AdamWSpec, SGDSpec
from benchmarks.spec.shapes import parameter_shapes
from tests.backends.meanings import writing
from tests.backends.meanings.writing import number, numbers

PLAIN = SGD(1.0, 0.0, False, 0.0)
ADAM = Adam(1.0, 0.9, 0.999, 1e-8, 0.0, False)


def after(optimizer: contract.Optimizer, gradient: float, start: float = 0.0, rates: tuple[float, ...] = ()) -> str:
    """A weight after a step with each of the rates, by default one with the optimizer's own."""
    weights, state = {"gamma": np.array([start])}, dict[str, Any]()
    for rate in rates or (optimizer.learning_rate,):
        update(replace(optimizer, learning_rate=rate), weights, state, {"gamma": np.array([gradient])})
    return number(weights["gamma"][0])


def optimizers() -> dict[str, str]:
    nesterov = after(replace(PLAIN, momentum=0.9, nesterov=True), 1.0)
    adamw = after(replace(ADAM, learning_rate=0.1, weight_decay=0.5, decoupled=True), 0.5, 1.0)
    return {
        "SGD, momentum .9: g 1, rates 1 and .1": after(replace(PLAIN, momentum=0.9), 1.0, rates=(1.0, 0.1)),
        "SGD, Nesterov, momentum .9: g 1, rate 1": nesterov,
        "the same by nn.Momentum": nesterov,
        "SGD, Nesterov, momentum 0: g 1, rate 1": without_momentum(),
        "SGD, decay .1 of a weight called gamma: p 1, g 0, rate 1": after(replace(PLAIN, weight_decay=0.1), 0.0, 1.0),
        "Adam, epsilon 1: g .5, rate 1": after(replace(ADAM, epsilon=1.0), 0.5),
        "Adam(weight_decay=.1): p 1, g 0, rate .1": after(replace(ADAM, learning_rate=0.1, weight_decay=0.1), 0.0, 1.0),
        "AdamW, decay .5: p 1, g .5, rate .1": adamw,
        "the same by nn.AdamWeightDecay": adamw,
        "AdamW, decay by default": number(AdamWSpec(learning_rate=0.1).weight_decay),
        "mint.optim.SGD: g 1, rate 1": after(PLAIN, 1.0),
        "gradient of norm 3, clipped to 3": number(clipped({"p": np.array([3.0])}, 3.0)["p"][0], digits=7),
    }


def without_momentum() -> str:
    try:
        return after(SGDSpec(learning_rate=1.0, nesterov=True).build(), 1.0)
    except ValidationError:
        return "refused"


def run(layer: contract.Layer, x: Any, **own: Any) -> tuple[Any, Any]:
    """The output of a layer, and the way back."""
    return OPERATIONS[type(layer)](layer, own, np.array(x, np.float64))


def derivative(layer: contract.Layer, at: float) -> str:
    output, back = run(layer, [[at]])
    return number(back.inputs(np.ones_like(output))[0, 0])


def layers() -> dict[str, str]:
    conv = spec.Conv2dSpec(layer="conv2d", channels=2, kernel=(4, 5)).build((3, 8, 8))
    of_three = spec.Conv2dSpec(layer="conv2d", channels=1, kernel=3).build((1, 4, 4))
    pool = spec.MaxPool2dSpec(layer="max_pool2d", kernel=2).build((1, 4, 4))
    flat, _ = run(contract.Flatten(), np.arange(24).reshape(1, 2, 3, 4))
    linear = contract.Model((3,), (contract.Linear(3, 2),))
    kernels = parameter_shapes(contract.Model((3, 8, 8), (conv,)))
    return {
        "flatten: order of an image": "C, H, W" if flat.ravel().tolist() == list(range(24)) else "another",
        "weight of a linear layer, 3 to 2": numbers(parameter_shapes(linear)["0.weight"]),
        "weight of a 4 x 5 convolution, 3 to 2": numbers(kernels["0.weight"]),
        "convolution: bias by default": "yes" if "0.bias" in kernels else "no",
        "3 x 3 convolution by default: 4 pixels become": number(
            run(of_three, np.ones((1, 1, 4, 4)), weight=np.ones((1, 1, 3, 3)), bias=np.zeros(1))[0].shape[2]
        ),
        "max pool of 2 by default: 4 pixels become": number(run(pool, np.ones((1, 1, 4, 4)))[0].shape[2]),
        "max pool, all equal: gradient to": writing.first_or_shared(
            run(pool, np.ones((1, 1, 2, 2)))[1].inputs(np.ones((1, 1, 1, 1)))
        ),
        "average pool of ones, padding 1: corner": number(
            run(contract.AvgPool2d((2, 2), (1, 1), (1, 1)), np.ones((1, 1, 2, 2)))[0][0, 0, 0, 0]
        ),
        "BatchNorm momentum by default": number(spec.BatchNormSpec(layer="batch_norm").momentum),
        "BatchNorm, momentum .9: mean 0, batch of ones": number(statistics([[1], [1]], 0.9)["running_mean"][0]),
        "share .1 of the new: var 1, batch 0, 1, 2, 3": number(statistics([[0], [1], [2], [3]], 0.1)["running_var"][0]),
    }


def statistics(batch: list[list[int]], momentum: float) -> Any:
    own = {"weight": np.ones(1), "bias": np.zeros(1), "running_mean": np.zeros(1), "running_var": np.ones(1)}
    return run(contract.BatchNorm(1, momentum, 1e-5), batch, **own)[1].statistics


def activations_and_losses() -> dict[str, str]:
    gelu = spec.GELUSpec(layer="gelu").build((1,))
    logits, labels = writing.LOGITS.astype(np.float64), np.array([0, 1])
    return {
        "GELU by default": writing.formula_of_gelu(run(gelu, [[3]])[0][0, 0]),
        "derivative of relu at 0": derivative(contract.ReLU(), 0),
        "derivative of leaky relu, slope .1, at 0": derivative(contract.LeakyReLU(0.1), 0),
        "cross-entropy of a batch is": "a mean" if np.ndim(cross_entropy(logits, labels)[0]) == 0 else "one each",
        "label smoothing .2 of logits 1 2 4, 3 1 0": number(cross_entropy(logits, labels, 0.2)[0]),
        "squared error of 2": number(mean_squared_error(np.array([[2.0]]), np.array([[0.0]]))[0]),
    }


def cells() -> dict[str, str]:
    """Those cells that are numbers, or words for them."""
    return {**optimizers(), **layers(), **activations_and_losses()}
