"""Measure the column "mindspore" of backends/MEANINGS.md and print it as one JSON object."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, mint, nn, ops
from mindspore.experimental import optim

from tests.backends.meanings import writing
from tests.backends.meanings.writing import number, numbers, outcome

ms.set_device("CPU")
ms.runtime.launch_blocking()  # kernels one by one, in this thread: what raises does so before the next one begins

NAN = float("nan")


def after(make: Callable[..., Any], gradient: float, start: float = 0.0, name: str = "p", steps: int = 1) -> str:
    """A weight after so many steps, always with the same gradient."""
    weight = ms.Parameter(Tensor(np.array([start], np.float32)), name=name)
    optimizer = make([weight])
    for _ in range(steps):
        optimizer((Tensor(np.array([gradient], np.float32)),))
    return number(weight.asnumpy()[0])


def optimizers() -> dict[str, str]:
    clipped = ops.clip_by_global_norm((Tensor([3.0]),), 3.0)[0]
    return {
        "SGD, momentum .9: g 1, rates 1 and .1": after(lambda p: nn.SGD(p, [1.0, 0.1], 0.9), 1.0, steps=2),
        "SGD, Nesterov, momentum .9: g 1, rate 1": after(lambda p: nn.SGD(p, 1.0, 0.9, nesterov=True), 1.0),
        "the same by nn.Momentum": after(lambda p: nn.Momentum(p, 1.0, 0.9, use_nesterov=True), 1.0),
        "SGD, Nesterov, momentum 0: g 1, rate 1": outcome(lambda: after(lambda p: nn.SGD(p, 1.0, nesterov=True), 1.0)),
        "SGD, decay .1 of a weight called gamma: p 1, g 0, rate 1": after(
            lambda p: nn.SGD(p, 1.0, weight_decay=0.1), 0.0, 1.0, "gamma"
        ),
        "Adam, epsilon 1: g .5, rate 1": after(lambda p: nn.Adam(p, 1.0, eps=1.0), 0.5),
        "Adam(weight_decay=.1): p 1, g 0, rate .1": after(lambda p: nn.Adam(p, 0.1, weight_decay=0.1), 0.0, 1.0),
        "AdamW, decay .5: p 1, g .5, rate .1": after(lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.5), 0.5, 1.0),
        "the same by nn.AdamWeightDecay": after(lambda p: nn.AdamWeightDecay(p, 0.1, weight_decay=0.5), 0.5, 1.0),
        "AdamW, decay by default": number(signature(optim.AdamW.__init__).parameters["weight_decay"].default),
        "RMSprop, decay .99, epsilon 1: g 1, rate 1": after(lambda p: nn.RMSProp(p, 1.0, 0.99, epsilon=1.0), 1.0),
        "Adagrad: g 1, rate 1": after(lambda p: nn.Adagrad(p, learning_rate=1.0), 1.0),
        "mint.optim.SGD: g 1, rate 1": after(lambda p: mint.optim.SGD(p, lr=1.0), 1.0),
        "cosine from 1 over 10 steps: step 15": number(nn.CosineDecayLR(0.0, 1.0, 10)(Tensor(15, ms.int32))),
        "gradient of norm 3, clipped to 3": number(clipped, digits=7),
    }


def derivative(function: Callable[..., Any], at: Any) -> Any:
    return ms.grad(function)(Tensor(np.array(at, np.float32))).asnumpy()


def ones(*shape: int) -> Any:
    return Tensor(np.ones(shape, np.float32))


def layers() -> dict[str, str]:
    images, square = ones(1, 1, 4, 4), ones(1, 1, 2, 2)
    conv, dense = nn.Conv2d(3, 2, (4, 5), pad_mode="valid"), nn.Dense(3, 2)
    return {
        "flatten: order of an image": "C, H, W" if conv(ones(1, 3, 8, 8)).shape == (1, 2, 5, 4) else "H, W, C",
        "weight of a linear layer, 3 to 2": numbers(dense.weight.shape),
        "weight of a 4 x 5 convolution, 3 to 2": numbers(conv.weight.shape),
        "convolution: bias by default": "yes" if conv.has_bias else "no",
        "linear layer: new bias": "random" if dense.bias.asnumpy().any() else "0",
        "3 x 3 convolution by default: 4 pixels become": number(nn.Conv2d(1, 1, 3)(images).shape[2]),
        '"same", stride 2: more padding at': writing.side_with_more(convolved_same()),
        "max pool of 2 by default: 4 pixels become": number(nn.MaxPool2d(2)(images).shape[2]),
        "max pool, all equal: gradient to": writing.first_or_shared(
            derivative(nn.MaxPool2d(2, 2), np.zeros((1, 1, 2, 2)))
        ),
        "amax, all equal: gradient to": writing.first_or_shared(derivative(ops.amax, np.zeros((2, 2)))),
        "average pool of ones, padding 1: corner": number(
            nn.AvgPool2d(2, 1, pad_mode="pad", padding=1)(square)[0, 0, 0, 0]
        ),
        'average pool of ones, "same": corner': number(nn.AvgPool2d(2, 1, pad_mode="same")(square)[0, 0, 1, 1]),
    }


def convolved_same() -> Any:
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, 0, 0] = 1
    layer = nn.Conv2d(1, 1, 3, 2, "same", weight_init=Tensor(kernel))
    return layer(Tensor(writing.IMAGE.reshape(1, 1, 4, 4))).asnumpy()


def batch_norm() -> dict[str, str]:
    default = signature(nn.BatchNorm1d.__init__).parameters
    new = nn.BatchNorm1d(1)
    output_of_one, one = trained([[2]], 0.9)
    return {
        "BatchNorm momentum by default": number(default["momentum"].default),
        "BatchNorm, momentum .9: mean 0, batch of ones": number(trained([[1], [1]], 0.9)[1].moving_mean[0]),
        "share .1 of the new: var 1, batch 0, 1, 2, 3": number(
            trained([[0], [1], [2], [3]], 0.9)[1].moving_variance[0]
        ),
        "LayerNorm epsilon by default": number(signature(nn.LayerNorm.__init__).parameters["epsilon"].default),
        "new BatchNorm layer": "evaluates" if new(ones(2, 1)).asnumpy().all() else "trains",
        "BatchNorm of one value: output": number(output_of_one[0, 0]),
        "BatchNorm of one value: var 1, share .1": number(one.moving_variance[0]),
    }


def trained(batch: list[list[int]], momentum: float) -> tuple[Any, Any]:
    """The output of a new layer for a batch, and the layer after it."""
    layer = nn.BatchNorm1d(1, momentum=momentum).set_train()
    return layer(Tensor(np.array(batch, np.float32))), layer


def activations() -> dict[str, str]:
    return {
        "GELU by default": writing.formula_of_gelu(nn.GELU()(Tensor([3.0]))),
        "derivative of relu at 0": number(derivative(nn.ReLU(), [0])),
        "derivative of maximum(x, 0) at 0": number(derivative(lambda x: ops.maximum(x, Tensor(0.0)), [0])),
        "derivative of clip(x, 0) at 0": number(derivative(lambda x: ops.clamp(x, 0.0), [0])),
        "derivative of leaky relu, slope .1, at 0": number(derivative(nn.LeakyReLU(0.1), [0])),
        "derivative of relu6 at 6": number(derivative(nn.ReLU6(), [6])),
        "derivative of hard tanh at 1": number(derivative(nn.Hardtanh(), [1])),
        "derivative of hard swish at 3": number(derivative(nn.HSwish(), [3])),
        "derivative of abs at 0": number(derivative(ops.abs, [0])),
    }


def losses() -> dict[str, str]:
    logits = Tensor(writing.LOGITS)

    def loss(second: int, dtype: type = np.int32, **options: Any) -> Any:
        return nn.CrossEntropyLoss(**options)(logits, Tensor(np.array([0, second], dtype))).asnumpy()

    older = nn.SoftmaxCrossEntropyWithLogits(sparse=True)(logits, Tensor([0, 1], ms.int32))
    return {
        "cross-entropy of a batch is": "a mean" if older.ndim == 0 else "one each",
        "label smoothing .2 of logits 1 2 4, 3 1 0": number(loss(1, label_smoothing=0.2)),
        "squared error of 2": number(nn.MSELoss()(Tensor([2.0]), Tensor([0.0]))),
        "labels of int32": outcome(lambda: "taken" if np.isfinite(loss(1)) else "NaN"),
        "labels of int64": outcome(lambda: "taken" if np.isfinite(loss(1, np.int64)) else "NaN"),
        "label = number of classes: loss": writing.NOT_TRIED,
        "label = number of classes: gradient": writing.NOT_TRIED,
        "label -1": outcome(lambda: writing.class_taken(loss(-1, reduction="none")[1])),
    }


def odd_values() -> dict[str, str]:
    window = Tensor(np.array([NAN, 1, 2, 3], np.float32).reshape(1, 1, 2, 2))
    two, five = Tensor([1.0, 2.0]), Tensor(5, ms.int32)
    return {
        "relu(NaN)": number(nn.ReLU()(Tensor([NAN]))[0]),
        "max pool of NaN, 1, 2, 3": number(nn.MaxPool2d(2, 2)(window)[0, 0, 0, 0]),
        "argmax of 1, NaN, 3": number(ops.argmax(Tensor([1.0, NAN, 3.0]))),
        "softmax of three times -inf": number(ops.softmax(Tensor(np.full(3, -np.inf, np.float32)))[0]),
        "1, 2 at index 5": outcome(lambda: number(two[five])),
        "1, 2 gathered at index 5": outcome(lambda: number(ops.gather(two, five, 0))),
        "half the smallest normal number": number((Tensor([writing.SMALLEST_NORMAL]) * 0.5).asnumpy()[0]),
    }


def arithmetic() -> dict[str, str]:
    x = Tensor(writing.FROM_MINUS_10_TO_10)
    array = np.zeros(1024, np.float32)
    kept = Tensor(array)
    return {
        "var of 0, 1, 2, 3": number(ops.var(Tensor([0.0, 1.0, 2.0, 3.0]))),
        "array of float64 becomes": str(Tensor(np.ones(1)).dtype).lower(),
        "error of exp, -10 to 10": writing.largest_error(ops.exp(x).asnumpy(), np.exp),
        "error of tanh, -10 to 10": writing.largest_error(ops.tanh(x).asnumpy(), np.tanh),
        "error of sigmoid, -10 to 10": writing.largest_error(ops.sigmoid(x).asnumpy(), writing.sigmoid),
        "exact GELU of -6 (right: -5.92e-09)": number(nn.GELU(approximate=False)(Tensor([-6.0]))[0], 3),
        "array handed over: memory": "shared" if np.shares_memory(kept.asnumpy(), array) else "copied",
        "weight read out, then a step: it": read_out(),
    }


def read_out() -> str:
    weight = ms.Parameter(ones(1) * 0, name="p")
    read = weight.asnumpy()
    nn.Momentum([weight], 1.0, 0.0)((ones(1),))
    weight.asnumpy()  # waits for the step
    return "changes" if read.any() else "stays"


if __name__ == "__main__":
    writing.tell(optimizers(), layers(), batch_norm(), activations(), losses(), odd_values(), arithmetic())
