"""Training loops as an expert of JAX would write them for a small model: a donating jit per step, or a scan of many.

The scan is not unrolled, though XLA compiles a convolution badly inside a loop on the CPU (jax issue 12868): unrolled
as a whole it is the jitted step again, after ten times its compilation. Who has convolutions takes the other mode.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
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


model = MLP() if job.model == "mlp" else CNN()
optimizer = optax.sgd(0.01) if job.model == "mlp" else optax.sgd(0.1, momentum=0.5)


def mean_loss(weights: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(model.apply(weights, images), targets).mean()


def step(weights: Any, state: Any, features: jax.Array, labels: jax.Array, batch: jax.Array) -> Any:
    loss, gradients = jax.value_and_grad(mean_loss)(weights, features[batch], labels[batch])
    updates, state = optimizer.update(gradients, state, weights)
    return optax.apply_updates(weights, updates), state, loss


def many_steps(weights: Any, state: Any, features: jax.Array, labels: jax.Array, batches: jax.Array) -> Any:
    def body(carry: Any, batch: jax.Array) -> Any:
        weights, state = carry
        weights, state, loss = step(weights, state, features, labels, batch)
        return (weights, state), loss

    (weights, state), losses = jax.lax.scan(body, (weights, state), batches)
    return weights, state, losses[-1]


jit_step = jax.jit(step, donate_argnums=(0, 1))
jit_many_steps = jax.jit(many_steps, donate_argnums=(0, 1))

given = load_file(job.weights)
if job.model == "mlp":
    layers = {"Dense_0": "1", "Dense_1": "3", "Dense_2": "5"}
    kernels = {name: given[f"{number}.weight"].T for name, number in layers.items()}
else:
    layers = {"Conv_0": "0", "Conv_1": "3", "Dense_0": "7"}
    # PyTorch flattens channels, height, width, flax height, width, channels: as if Dense were a convolution of 2 x 2.
    given["7.weight"] = given["7.weight"].reshape(10, 32, 2, 2)
    kernels = {name: given[f"{number}.weight"].transpose(2, 3, 1, 0) for name, number in layers.items()}
    kernels["Dense_0"] = kernels["Dense_0"].reshape(128, 10)
weights = jax.device_put(
    {"params": {name: {"kernel": kernels[name], "bias": given[f"{layers[name]}.bias"]} for name in layers}}
)
state = optimizer.init(weights)


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
