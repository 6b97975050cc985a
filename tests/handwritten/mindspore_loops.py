"""Training loops as an expert of MindSpore would write them for a small model on the CPU: PyNative, and compiled."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from tests.handwritten.turns import asked, batches_of, take_turns

job = asked()
if job.model != "mlp":
    # With AVX-512, oneDNN is asked for layouts that leave convolutions to its reference loops, over ten times slower.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
ms.set_device("CPU")
pool = processors = len(os.sched_getaffinity(0))
if job.mode == "pynative" and processors <= 2:
    # Its pipeline of threads spins while it waits, and there is no processor to spare for that.
    ms.runtime.launch_blocking()
elif job.mode == "pynative":
    pool = processors - 2  # Python's, and its pipeline's
ms.device_context.cpu.op_tuning.threads_num(pool)
features, labels = Tensor(np.load(job.features)), Tensor(np.load(job.labels))


class Residual(nn.Cell):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = outputs // inputs
        self.layers = nn.SequentialCell(
            nn.Conv2d(inputs, outputs, 3, stride, pad_mode="pad", padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, pad_mode="pad", padding=1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.SequentialCell()
        if stride > 1:
            self.shortcut = nn.SequentialCell(
                nn.Conv2d(inputs, outputs, 1, stride, pad_mode="pad"), nn.BatchNorm2d(outputs)
            )

    def construct(self, x: Any) -> Any:
        return self.layers(x) + self.shortcut(x)


class GlobalAvgPool(nn.Cell):
    def construct(self, x: Any) -> Any:
        return ops.mean(x, (2, 3))


def resnet20() -> Any:
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [part for pair in pairwise(widths) for part in (Residual(*pair), nn.ReLU())]
    first = nn.Conv2d(3, 16, 3, pad_mode="pad", padding=1), nn.BatchNorm2d(16), nn.ReLU()
    return nn.SequentialCell(*first, *blocks, GlobalAvgPool(), nn.Dense(64, 10))


scheduled = job.model in ("lenet", "resnet")
if job.model == "mlp":
    model = nn.SequentialCell(
        nn.Flatten(),
        nn.Dense(784, 512),
        nn.ReLU(),
        nn.Dense(512, 512),
        nn.ReLU(),
        nn.Dense(512, 10),
    )
    constants = {"learning_rate": 0.01, "momentum": 0.0}
elif job.model == "cnn":
    model = nn.SequentialCell(
        nn.Conv2d(1, 16, 3, pad_mode="pad", padding=1, has_bias=True),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(16, 32, 3, pad_mode="pad", padding=1, has_bias=True),
        nn.ReLU(),
        nn.AvgPool2d(2, 2),
        nn.Flatten(),
        nn.Dense(32 * 2 * 2, 10),
    )
    constants = {"learning_rate": 0.1, "momentum": 0.5}
elif job.model == "lenet":
    model = nn.SequentialCell(
        nn.Conv2d(1, 6, 5, pad_mode="pad", padding=2, has_bias=True),
        nn.Tanh(),
        nn.AvgPool2d(2, 2),
        nn.Conv2d(6, 16, 5, pad_mode="pad", has_bias=True),
        nn.Tanh(),
        nn.AvgPool2d(2, 2),
        nn.Flatten(),
        nn.Dense(16 * 5 * 5, 120),
        nn.Tanh(),
        nn.Dense(120, 84),
        nn.Tanh(),
        nn.Dense(84, 10),
    )
    constants = {"learning_rate": 0.05, "momentum": 0.9}
else:
    model = resnet20()
    constants = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4}

# PyTorch's names, as the file has them; the optimizer would leave weight decay off what is called gamma or beta.
OF_PYTORCH = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
for parameter in model.get_parameters():
    layer, part = parameter.name.rsplit(".", 1)
    parameter.name = f"{layer}.{OF_PYTORCH.get(part, part)}"
# nn.Momentum is SGD too, and its kernel touches one array less than that of nn.SGD.
optimizer = nn.Momentum(model.trainable_params(), **constants)
ms.load_param_into_net(model, ms.load_checkpoint(job.weights, format="safetensors"), strict_load=True)
model.set_train()
cross_entropy = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")


def mean_loss(images: Any, targets: Any) -> Any:
    return cross_entropy(model(images), targets)


gradient = ms.value_and_grad(mean_loss, None, optimizer.parameters)


def step(features: Any, labels: Any, batch: Any, *rate: Any) -> Any:
    loss, gradients = gradient(ops.gather(features, batch, 0), ops.gather(labels, batch, 0))
    if scheduled:
        ops.assign(optimizer.learning_rate, rate[0])
    optimizer(gradients)
    return loss


@ms.jit
def many_steps(features: Any, labels: Any, batches: Any, *rates: Any) -> Any:
    """The whole loop compiled: Python is entered once per call, not once per step."""
    loss = Tensor(0, ms.float32)
    i = Tensor(0, ms.int32)
    while i < len(batches):
        rate = [ops.gather(values, i, 0) for values in rates]
        loss = step(features, labels, ops.gather(batches, i, 0), *rate)
        i = i + 1
    return loss


def train(call: tuple[NDArray[np.int64], NDArray[np.float32]]) -> Any:
    batches, rates = call
    inputs = [batches.astype(np.int32), rates] if scheduled else [batches.astype(np.int32)]
    if job.mode == "graph":
        return many_steps(features, labels, *map(Tensor, inputs))
    for row in zip(*inputs, strict=True):
        loss = step(features, labels, *map(Tensor, row))
    return loss


def synchronize(loss: Any) -> float:
    for parameter in optimizer.parameters:  # runtime.synchronize returns at once the first time
        parameter.asnumpy()
    return float(loss.asnumpy())


take_turns(
    channel=job.channel,
    parameters=sum(parameter.size for parameter in optimizer.parameters),
    calls=zip(batches_of(job.order, job.steps), batches_of(job.rates, job.steps), strict=True),
    train=train,
    synchronize=synchronize,
)
