"""Training loops as an expert of MindSpore would write them for a small model on the CPU: PyNative, and compiled."""

from __future__ import annotations

import os
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from tests.handwritten.turns import asked, batches_of, take_turns

job = asked()
if job.model == "cnn":
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

# nn.Momentum is SGD too, and its kernel touches one array less than that of nn.SGD.
if job.model == "mlp":
    model = nn.SequentialCell(
        nn.Flatten(),
        nn.Dense(784, 512),
        nn.ReLU(),
        nn.Dense(512, 512),
        nn.ReLU(),
        nn.Dense(512, 10),
    )
    optimizer = nn.Momentum(model.trainable_params(), learning_rate=0.01, momentum=0.0)
else:
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
    optimizer = nn.Momentum(model.trainable_params(), learning_rate=0.1, momentum=0.5)

ms.load_param_into_net(model, ms.load_checkpoint(job.weights, format="safetensors"), strict_load=True)
model.set_train()
cross_entropy = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")


def mean_loss(images: Any, targets: Any) -> Any:
    return cross_entropy(model(images), targets)


gradient = ms.value_and_grad(mean_loss, None, optimizer.parameters)


def step(features: Any, labels: Any, batch: Any) -> Any:
    loss, gradients = gradient(ops.gather(features, batch, 0), ops.gather(labels, batch, 0))
    optimizer(gradients)
    return loss


@ms.jit
def many_steps(features: Any, labels: Any, batches: Any) -> Any:
    """The whole loop compiled: Python is entered once per call, not once per step."""
    loss = Tensor(0, ms.float32)
    i = Tensor(0, ms.int32)
    while i < len(batches):
        loss = step(features, labels, ops.gather(batches, i, 0))
        i = i + 1
    return loss


def train(batches: NDArray[np.int64]) -> Any:
    indices = batches.astype(np.int32)
    if job.mode == "graph":
        return many_steps(features, labels, Tensor(indices))
    for batch in indices:
        loss = step(features, labels, Tensor(batch))
    return loss


def synchronize(loss: Any) -> float:
    for parameter in optimizer.parameters:  # runtime.synchronize returns at once the first time
        parameter.asnumpy()
    return float(loss.asnumpy())


take_turns(
    channel=job.channel,
    parameters=sum(parameter.size for parameter in optimizer.parameters),
    calls=batches_of(job.order, job.steps),
    train=train,
    synchronize=synchronize,
)
