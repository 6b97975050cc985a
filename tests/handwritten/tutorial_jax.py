"""The loop of flax's beginners' tutorial: NumPy batches handed to one jitted step, a print every 100 batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

from tests.handwritten.turns import as_pictures, asked, take_turns

job = asked()
images = as_pictures(np.load(job.features)).transpose(0, 2, 3, 1).astype(np.float32) / 255.0
labels = np.load(job.labels)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape((x.shape[0], -1))
        x = nn.relu(nn.Dense(features=512)(x))
        x = nn.relu(nn.Dense(features=512)(x))
        return nn.Dense(features=10)(x)


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(features=16, kernel_size=(3, 3))(x))
        x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.relu(nn.Conv(features=32, kernel_size=(3, 3))(x))
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(features=10)(x)


model = MLP() if job.model == "mlp" else CNN()
optimizer = optax.sgd(0.01) if job.model == "mlp" else optax.sgd(0.1, 0.5)
state = TrainState.create(
    apply_fn=model.apply, params=model.init(jax.random.key(0), images[:1])["params"], tx=optimizer
)


@jax.jit
def train_step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
    def loss_fn(params: Any) -> jax.Array:
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def training() -> Iterator[jax.Array]:
    """Train epoch after epoch; pauses after each step, and gives its loss."""
    global state
    random = np.random.default_rng()
    while True:
        order = random.permutation(len(images))
        order = order[: len(order) // 64 * 64].reshape(-1, 64)
        for batch, chosen in enumerate(order):
            state, loss = train_step(state, images[chosen], labels[chosen])
            if batch % 100 == 0:
                print(f"loss: {loss.item():>7f}  [{(batch + 1) * 64:>5d}/{len(images):>5d}]")
            yield loss


steps = training()


def train(count: int) -> jax.Array:
    for _ in range(count):
        loss = next(steps)
    return loss


take_turns(
    channel=job.channel,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    calls=repeat(job.steps),
    train=train,
    synchronize=lambda loss: jax.block_until_ready((state, loss))[1].item(),
)
