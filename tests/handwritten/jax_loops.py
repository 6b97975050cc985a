"""Training loops as an expert of JAX would write them for a small model: a donating jit per step, or a scan of many.

The scan is not unrolled, though XLA compiles a convolution badly inside a loop on the CPU (jax issue 12868): unrolled
as a whole it is the jitted step again, after ten times its compilation. Who has convolutions takes the other mode.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.handwritten.turns import asked, batches_of, take_turns

job = asked()
if job.device == "gpu":
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # as several processes share it
jax.config.update("jax_default_device", jax.devices(job.device)[0])
jax.config.update("jax_default_matmul_precision", "highest")  # on a GPU it would be TF32
features = jax.device_put(np.ascontiguousarray(np.load(job.features).transpose(0, 2, 3, 1)))  # NHWC, as flax has it
labels = jax.device_put(np.load(job.labels))


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(512)(x))
        x = nn.relu(nn.Dense(512)(x))
        return nn.Dense(10)(x)


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(nn.Conv(32, (3, 3))(x))
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(10)(x.reshape(len(x), -1))


class LeNet5(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.tanh(nn.Conv(6, (5, 5))(x))
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = nn.tanh(nn.Conv(16, (5, 5), padding="VALID")(x))
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = nn.tanh(nn.Dense(120)(x.reshape(len(x), -1)))
        x = nn.tanh(nn.Dense(84)(x))
        return nn.Dense(10)(x)


Convolution = partial(nn.Conv, padding=1, use_bias=False)
Normalization = partial(nn.BatchNorm, use_running_average=False, momentum=0.9)


class Block(nn.Module):
    outputs: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(Normalization()(Convolution(self.outputs, (3, 3), self.stride)(x)))
        y = Normalization()(Convolution(self.outputs, (3, 3))(y))
        if self.stride > 1:
            x = Normalization()(Convolution(self.outputs, (1, 1), self.stride, padding=0)(x))
        return nn.relu(x + y)


class ResNet20(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(Normalization()(Convolution(16, (3, 3))(x)))
        for outputs, first_stride in ((16, 1), (32, 2), (64, 2)):
            for stride in (first_stride, 1, 1):
                x = Block(outputs, stride)(x)
        return nn.Dense(10)(x.mean(axis=(1, 2)))


model: Any = {"mlp": MLP, "cnn": CNN, "lenet": LeNet5, "resnet": ResNet20}[job.model]()
steps = len(np.load(job.order))  # of the training
optimizer = {
    "mlp": optax.sgd(0.01),
    "cnn": optax.sgd(0.1, momentum=0.5),
    "lenet": optax.sgd(optax.cosine_decay_schedule(0.05, steps), momentum=0.9),
    "resnet": optax.chain(
        optax.add_decayed_weights(1e-4),
        optax.sgd(
            optax.piecewise_constant_schedule(0.1, {steps * 91 // 182: 0.1, steps * 136 // 182: 0.1}), momentum=0.9
        ),
    ),
}[job.model]


def mean_loss(weights: Any, statistics: Any, images: jax.Array, targets: jax.Array) -> Any:
    logits, moved = model.apply({"params": weights, **statistics}, images, mutable=["batch_stats"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), moved


def step(weights: Any, state: Any, features: jax.Array, labels: jax.Array, batch: jax.Array) -> Any:
    statistics, moments = state
    gradient = jax.value_and_grad(mean_loss, has_aux=True)
    (loss, statistics), gradients = gradient(weights, statistics, features[batch], labels[batch])
    updates, moments = optimizer.update(gradients, moments, weights)
    return optax.apply_updates(weights, updates), (statistics, moments), loss


def many_steps(weights: Any, state: Any, features: jax.Array, labels: jax.Array, batches: jax.Array) -> Any:
    def body(carry: Any, batch: jax.Array) -> Any:
        weights, state = carry
        weights, state, loss = step(weights, state, features, labels, batch)
        return (weights, state), loss

    (weights, state), losses = jax.lax.scan(body, (weights, state), batches)
    return weights, state, losses[-1]


jit_step = jax.jit(step, donate_argnums=(0, 1))
jit_many_steps = jax.jit(many_steps, donate_argnums=(0, 1))

LAYERS = {
    "mlp": {"1": "Dense_0", "3": "Dense_1", "5": "Dense_2"},
    "cnn": {"0": "Conv_0", "3": "Conv_1", "7": "Dense_0"},
    "lenet": {"0": "Conv_0", "3": "Conv_1", "7": "Dense_0", "9": "Dense_1", "11": "Dense_2"},
    "resnet": {"0": "Conv_0", "1": "BatchNorm_0", "22": "Dense_0"}
    | {
        f"{3 + 2 * block}.{place}": f"Block_{block}/{name}"
        for block in range(9)
        for place, name in {
            "layers.0": "Conv_0",
            "layers.1": "BatchNorm_0",
            "layers.3": "Conv_1",
            "layers.4": "BatchNorm_1",
            "shortcut.0": "Conv_2",
            "shortcut.1": "BatchNorm_2",
        }.items()
    },
}
"""flax's names for PyTorch's."""

FLATTENED = {"cnn": (10, 32, 2, 2), "lenet": (120, 16, 5, 5)}
"""Outputs of the first Dense after convolutions, and the channels, height and width that PyTorch flattens."""


def in_flax(name: str, values: NDArray[np.float32]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Where flax has one of PyTorch's arrays, and in which layout."""
    layer, part = name.rsplit(".", 1)
    path = LAYERS[job.model][layer]
    own = {
        "weight": "scale" if "BatchNorm" in path else "kernel",
        "bias": "bias",
        "running_mean": "mean",
        "running_var": "var",
    }[part]
    collection = "batch_stats" if part.startswith("running") else "params"
    if path == "Dense_0" and part == "weight" and job.model in FLATTENED:
        # flax flattens height, width, channels: as if Dense were a convolution of the whole image.
        values = values.reshape(FLATTENED[job.model]).transpose(2, 3, 1, 0).reshape(-1, len(values))
    elif values.ndim > 1:
        values = values.transpose((2, 3, 1, 0) if values.ndim == 4 else (1, 0))
    return (collection, *path.split("/"), own), values


statistics = jax.device_put(unflatten_dict(dict(in_flax(*item) for item in load_file(job.weights).items())))
weights = statistics.pop("params")
state = statistics, optimizer.init(weights)


def train(batches: NDArray[np.int64]) -> jax.Array:
    global weights, state
    indices = batches.astype(np.int32)
    if job.mode == "scan":
        weights, state, loss = jit_many_steps(weights, state, features, labels, indices)
        return loss
    for batch in indices:
        weights, state, loss = jit_step(weights, state, features, labels, batch)
    return loss


def synchronize(loss: jax.Array) -> float:
    jax.block_until_ready((weights, state))
    return loss.item()


take_turns(
    channel=job.channel,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(weights)),
    calls=batches_of(job.order, job.steps),
    train=train,
    synchronize=synchronize,
)
