"""Measure the column "torch" of backends/MEANINGS.md and print it as one JSON object."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional

from tests.backends.meanings import writing
from tests.backends.meanings.writing import number, numbers, outcome

NAN = float("nan")


def after(make: Callable[..., Any], gradient: float, start: float = 0.0, rates: tuple[float, ...] = (1.0,)) -> str:
    """A weight after a step with each of the rates, always with the same gradient."""
    weight = nn.Parameter(torch.tensor([start]))
    optimizer = make([weight], lr=rates[0])
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([gradient])
        optimizer.step()
    return number(weight.item())


def optimizers() -> dict[str, str]:
    return {
        "SGD, momentum .9: g 1, rates 1 and .1": after(lambda p, lr: optim.SGD(p, lr, 0.9), 1.0, rates=(1.0, 0.1)),
        "SGD, Nesterov, momentum .9: g 1, rate 1": after(lambda p, lr: optim.SGD(p, lr, 0.9, nesterov=True), 1.0),
        "the same by nn.Momentum": writing.NOT_THERE,
        "SGD, Nesterov, momentum 0: g 1, rate 1": outcome(
            lambda: after(lambda p, lr: optim.SGD(p, lr, nesterov=True), 1.0)
        ),
        "SGD, decay .1 of a weight called gamma: p 1, g 0, rate 1": after(
            lambda p, lr: optim.SGD([("gamma", p[0])], lr, weight_decay=0.1), 0.0, 1.0
        ),
        "Adam, epsilon 1: g .5, rate 1": after(lambda p, lr: optim.Adam(p, lr, eps=1.0), 0.5),
        "Adam(weight_decay=.1): p 1, g 0, rate .1": after(
            lambda p, lr: optim.Adam(p, lr, weight_decay=0.1), 0.0, 1.0, rates=(0.1,)
        ),
        "AdamW, decay .5: p 1, g .5, rate .1": after(
            lambda p, lr: optim.AdamW(p, lr, weight_decay=0.5), 0.5, 1.0, rates=(0.1,)
        ),
        "the same by nn.AdamWeightDecay": writing.NOT_THERE,
        "AdamW, decay by default": number(signature(optim.AdamW).parameters["weight_decay"].default),
        "RMSprop, decay .99, epsilon 1: g 1, rate 1": after(lambda p, lr: optim.RMSprop(p, lr, 0.99, 1.0), 1.0),
        "Adagrad: g 1, rate 1": after(optim.Adagrad, 1.0),
        "mint.optim.SGD: g 1, rate 1": writing.NOT_THERE,
        "cosine from 1 over 10 steps: step 15": number(cosine(15)),
        "gradient of norm 3, clipped to 3": number(clipped(3.0), digits=7),
    }


def cosine(step: int) -> float:
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(step):
        optimizer.step()
        scheduler.step()
    return float(scheduler.get_last_lr()[0])


def clipped(gradient: float) -> float:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([gradient])
    nn.utils.clip_grad_norm_([weight], 3.0)
    return float(weight.grad)


def derivative(function: Callable[..., Any], at: Any) -> Any:
    x = torch.tensor(at, dtype=torch.float32, requires_grad=True)
    function(x).sum().backward()
    return x.grad.numpy()


def layers() -> dict[str, str]:
    images = torch.ones(1, 1, 4, 4)
    conv = nn.Conv2d(3, 2, (4, 5))
    channels_second = tuple(conv(torch.ones(1, 3, 8, 8)).shape) == (1, 2, 5, 4)
    fresh = nn.Linear(3, 2).bias.detach()
    ones = torch.ones(1, 1, 2, 2)
    return {
        "flatten: order of an image": "C, H, W" if channels_second else "H, W, C",
        "weight of a linear layer, 3 to 2": numbers(nn.Linear(3, 2).weight.shape),
        "weight of a 4 x 5 convolution, 3 to 2": numbers(conv.weight.shape),
        "convolution: bias by default": "no" if conv.bias is None else "yes",
        "linear layer: new bias": "random" if fresh.any() else "0",
        "3 x 3 convolution by default: 4 pixels become": number(nn.Conv2d(1, 1, 3)(images).shape[2]),
        '"same", stride 2: more padding at': outcome(lambda: str(nn.Conv2d(1, 1, 3, 2, "same"))),
        "max pool of 2 by default: 4 pixels become": number(nn.MaxPool2d(2)(images).shape[2]),
        "max pool, all equal: gradient to": writing.first_or_shared(
            derivative(nn.MaxPool2d(2), np.zeros((1, 1, 2, 2)))
        ),
        "amax, all equal: gradient to": writing.first_or_shared(derivative(torch.amax, np.zeros((2, 2)))),
        "average pool of ones, padding 1: corner": number(nn.AvgPool2d(2, 1, 1)(ones)[0, 0, 0, 0]),
        'average pool of ones, "same": corner': outcome(lambda: number(nn.AvgPool2d(2, 1, "same")(ones)[0, 0, 1, 1])),
    }


def batch_norm() -> dict[str, str]:
    default = signature(nn.BatchNorm1d).parameters
    return {
        "BatchNorm momentum by default": number(default["momentum"].default),
        "BatchNorm, momentum .9: mean 0, batch of ones": number(trained([[1], [1]], 0.9).running_mean),
        "share .1 of the new: var 1, batch 0, 1, 2, 3": number(trained([[0], [1], [2], [3]], 0.1).running_var),
        "LayerNorm epsilon by default": number(signature(nn.LayerNorm).parameters["eps"].default),
        "new BatchNorm layer": "trains" if nn.BatchNorm1d(1).training else "evaluates",
        "BatchNorm of one value: output": outcome(lambda: str(nn.BatchNorm1d(1)(torch.tensor([[2.0]])))),
        "BatchNorm of one value: var 1, share .1": outcome(lambda: number(trained([[2]], 0.1).running_var)),
    }


def trained(batch: list[list[int]], momentum: float) -> Any:
    layer = nn.BatchNorm1d(1, momentum=momentum)
    layer(torch.tensor(batch, dtype=torch.float32))
    return layer


def activations() -> dict[str, str]:
    return {
        "GELU by default": writing.formula_of_gelu(nn.GELU()(torch.tensor(3.0))),
        "derivative of relu at 0": number(derivative(functional.relu, 0)),
        "derivative of maximum(x, 0) at 0": number(derivative(lambda x: torch.maximum(x, torch.zeros(())), 0)),
        "derivative of clip(x, 0) at 0": number(derivative(lambda x: torch.clip(x, 0), 0)),
        "derivative of leaky relu, slope .1, at 0": number(derivative(lambda x: functional.leaky_relu(x, 0.1), 0)),
        "derivative of relu6 at 6": number(derivative(functional.relu6, 6)),
        "derivative of hard tanh at 1": number(derivative(functional.hardtanh, 1)),
        "derivative of hard swish at 3": number(derivative(functional.hardswish, 3)),
        "derivative of abs at 0": number(derivative(torch.abs, 0)),
    }


def losses() -> dict[str, str]:
    logits = torch.tensor(writing.LOGITS, requires_grad=True)

    def loss(second: int, dtype: torch.dtype = torch.int64, **options: Any) -> torch.Tensor:
        return functional.cross_entropy(logits, torch.tensor([0, second], dtype=dtype), **options)

    def gradient(second: int) -> str:
        found = torch.autograd.grad(loss(second), logits)[0]
        return "finite" if found.isfinite().all() else "NaN"

    return {
        "cross-entropy of a batch is": "a mean" if loss(1).ndim == 0 else "one each",
        "label smoothing .2 of logits 1 2 4, 3 1 0": number(loss(1, label_smoothing=0.2).detach()),
        "squared error of 2": number(functional.mse_loss(torch.tensor([2.0]), torch.tensor([0.0]))),
        "labels of int32": outcome(lambda: "taken" if loss(1, torch.int32).isfinite() else "NaN"),
        "labels of int64": outcome(lambda: "taken" if loss(1).isfinite() else "NaN"),
        "label = number of classes: loss": outcome(lambda: number(loss(3, reduction="none")[1])),
        "label = number of classes: gradient": outcome(lambda: gradient(3)),
        "label -1": outcome(lambda: writing.class_taken(loss(-1, reduction="none")[1])),
    }


def odd_values() -> dict[str, str]:
    window = torch.tensor([[[[NAN, 1.0], [2.0, 3.0]]]])
    five = torch.tensor(5)
    return {
        "relu(NaN)": number(functional.relu(torch.tensor(NAN))),
        "max pool of NaN, 1, 2, 3": number(functional.max_pool2d(window, 2)),
        "argmax of 1, NaN, 3": number(torch.tensor([1.0, NAN, 3.0]).argmax()),
        "softmax of three times -inf": number(torch.full((3,), -torch.inf).softmax(0)[0]),
        "1, 2 at index 5": outcome(lambda: number(torch.tensor([1.0, 2.0])[five])),
        "1, 2 gathered at index 5": outcome(lambda: number(torch.tensor([1.0, 2.0]).index_select(0, five))),
        "half the smallest normal number": number(torch.tensor(writing.SMALLEST_NORMAL) * 0.5),
    }


def arithmetic() -> dict[str, str]:
    x = torch.from_numpy(writing.FROM_MINUS_10_TO_10)
    array = np.zeros(1024, np.float32)
    return {
        "var of 0, 1, 2, 3": number(torch.arange(4.0).var()),
        "array of float64 becomes": str(torch.as_tensor(np.ones(1)).dtype).removeprefix("torch."),
        "error of exp, -10 to 10": writing.largest_error(x.exp(), np.exp),
        "error of tanh, -10 to 10": writing.largest_error(x.tanh(), np.tanh),
        "error of sigmoid, -10 to 10": writing.largest_error(x.sigmoid(), writing.sigmoid),
        "exact GELU of -6 (right: -5.92e-09)": number(functional.gelu(torch.tensor(-6.0)), 3),
        "array handed over: memory": "shared" if torch.from_numpy(array).data_ptr() == array.ctypes.data else "copied",
        "weight read out, then a step: it": read_out(),
    }


def read_out() -> str:
    weight = nn.Parameter(torch.zeros(1))
    read = weight.detach().numpy()
    weight.grad = torch.ones(1)
    optim.SGD([weight], 1.0).step()
    return "changes" if read.any() else "stays"


if __name__ == "__main__":
    writing.tell(optimizers(), layers(), batch_norm(), activations(), losses(), odd_values(), arithmetic())
