"""Measure the column "jax" (flax.linen, optax) of backends/MEANINGS.md and print it as one JSON object."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from tests.backends.meanings import writing
from tests.backends.meanings.writing import number, numbers, outcome

jax.config.update("jax_platforms", "cpu")

KEY = jax.random.key(0)
ALIGNMENT = 64


def after(optimizer: Any, gradient: float, start: float = 0.0, steps: int = 1) -> str:
    """A weight after so many steps, always with the same gradient."""
    weight = jnp.float32(start)
    state = optimizer.init(weight)
    for _ in range(steps):
        update, state = optimizer.update(jnp.float32(gradient), state, weight)
        weight = optax.apply_updates(weight, update)
    return number(weight)


def optimizers() -> dict[str, str]:
    decay = optax.add_decayed_weights(0.1)
    cosine = optax.cosine_decay_schedule(1.0, 10)
    clipped, _ = optax.clip_by_global_norm(3.0).update(jnp.float32(3.0), optax.EmptyState())
    return {
        "SGD, momentum .9: g 1, rates 1 and .1": after(optax.sgd(lambda count: 1 - 0.9 * count, 0.9), 1.0, steps=2),
        "SGD, Nesterov, momentum .9: g 1, rate 1": after(optax.sgd(1.0, 0.9, nesterov=True), 1.0),
        "the same by nn.Momentum": writing.NOT_THERE,
        "SGD, Nesterov, momentum 0: g 1, rate 1": outcome(lambda: after(optax.sgd(1.0, 0.0, nesterov=True), 1.0)),
        "SGD, decay .1 of a weight called gamma: p 1, g 0, rate 1": decayed_gamma(optax.chain(decay, optax.sgd(1.0))),
        "Adam, epsilon 1: g .5, rate 1": after(optax.adam(1.0, eps=1.0), 0.5),
        "Adam(weight_decay=.1): p 1, g 0, rate .1": outcome(lambda: after(optax.adam(0.1, weight_decay=0.1), 0.0, 1.0)),
        "AdamW, decay .5: p 1, g .5, rate .1": after(optax.adamw(0.1, weight_decay=0.5), 0.5, 1.0),
        "the same by nn.AdamWeightDecay": writing.NOT_THERE,
        "AdamW, decay by default": number(signature(optax.adamw).parameters["weight_decay"].default),
        "RMSprop, decay .99, epsilon 1: g 1, rate 1": after(optax.rmsprop(1.0, 0.99, eps=1.0), 1.0),
        "Adagrad: g 1, rate 1": after(optax.adagrad(1.0), 1.0),
        "mint.optim.SGD: g 1, rate 1": writing.NOT_THERE,
        "cosine from 1 over 10 steps: step 15": number(cosine(15)),
        "gradient of norm 3, clipped to 3": number(clipped, digits=7),
    }


def decayed_gamma(optimizer: Any) -> str:
    weights = {"gamma": jnp.float32(1)}
    updates, _ = optimizer.update({"gamma": jnp.float32(0)}, optimizer.init(weights), weights)
    return number(optax.apply_updates(weights, updates)["gamma"])


def derivative(function: Callable[..., Any], at: Any) -> Any:
    return jax.grad(lambda x: function(x).sum())(jnp.asarray(at, jnp.float32))


def layers() -> dict[str, str]:
    images, ones = jnp.ones((1, 4, 4, 1)), jnp.ones((1, 2, 2, 1))
    output, conv = shapes(nn.Conv(2, (4, 5), padding="VALID"), (1, 8, 8, 3))
    _, dense = shapes(nn.Dense(2), (1, 3))
    by_default, _ = shapes(nn.Conv(1, (3, 3)), images.shape)
    return {
        "flatten: order of an image": "H, W, C" if output.shape == (1, 5, 4, 2) else "C, H, W",
        "weight of a linear layer, 3 to 2": numbers(dense["kernel"].shape),
        "weight of a 4 x 5 convolution, 3 to 2": numbers(conv["kernel"].shape),
        "convolution: bias by default": "yes" if "bias" in conv else "no",
        "linear layer: new bias": "random" if nn.Dense(2).bias_init(KEY, (2,)).any() else "0",
        "3 x 3 convolution by default: 4 pixels become": number(by_default.shape[1]),
        '"same", stride 2: more padding at': writing.side_with_more(convolved_same()),
        "max pool of 2 by default: 4 pixels become": number(nn.max_pool(images, (2, 2)).shape[1]),
        "max pool, all equal: gradient to": writing.first_or_shared(
            derivative(lambda x: nn.max_pool(x, (2, 2), (2, 2)), np.zeros((1, 2, 2, 1)))
        ),
        "amax, all equal: gradient to": writing.first_or_shared(derivative(jnp.max, np.zeros((2, 2)))),
        "average pool of ones, padding 1: corner": number(
            nn.avg_pool(ones, (2, 2), (1, 1), ((1, 1), (1, 1)))[0, 0, 0, 0]
        ),
        'average pool of ones, "same": corner': number(nn.avg_pool(ones, (2, 2), (1, 1), "SAME")[0, 1, 1, 0]),
    }


def shapes(layer: Any, of_input: tuple[int, ...]) -> tuple[Any, Any]:
    """The output and the weights of a layer; nothing is computed."""
    output, variables = jax.eval_shape(layer.init_with_output, KEY, jnp.ones(of_input))
    return output, variables["params"]


def convolved_same() -> Any:
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1)
    layer = nn.Conv(1, (3, 3), (2, 2), "SAME", use_bias=False)
    return layer.apply({"params": {"kernel": kernel}}, writing.IMAGE.reshape(1, 4, 4, 1))


def batch_norm() -> dict[str, str]:
    output_of_one, after_one = trained([[2]], 0.9)
    return {
        "BatchNorm momentum by default": number(nn.BatchNorm.momentum),
        "BatchNorm, momentum .9: mean 0, batch of ones": number(trained([[1], [1]], 0.9)[1]["mean"][0]),
        "share .1 of the new: var 1, batch 0, 1, 2, 3": number(trained([[0], [1], [2], [3]], 0.9)[1]["var"][0]),
        "LayerNorm epsilon by default": number(nn.LayerNorm.epsilon),
        "new BatchNorm layer": outcome(lambda: str(shapes(nn.BatchNorm(), (4, 1)))),
        "BatchNorm of one value: output": number(output_of_one[0, 0]),
        "BatchNorm of one value: var 1, share .1": number(after_one["var"][0]),
    }


def trained(batch: list[list[int]], momentum: float) -> tuple[Any, Any]:
    """The output of a new layer for a batch, and its statistics after it."""
    layer = nn.BatchNorm(False, momentum=momentum)
    x = np.array(batch, np.float32)
    variables = {
        "params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
        "batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)},
    }
    output, moved = layer.apply(variables, x, mutable="batch_stats")
    return output, moved["batch_stats"]


def activations() -> dict[str, str]:
    return {
        "GELU by default": writing.formula_of_gelu(nn.gelu(jnp.float32(3))),
        "derivative of relu at 0": number(derivative(nn.relu, 0)),
        "derivative of maximum(x, 0) at 0": number(derivative(lambda x: jnp.maximum(x, 0), 0)),
        "derivative of clip(x, 0) at 0": number(derivative(lambda x: jnp.clip(x, 0), 0)),
        "derivative of leaky relu, slope .1, at 0": number(derivative(lambda x: nn.leaky_relu(x, 0.1), 0)),
        "derivative of relu6 at 6": number(derivative(nn.relu6, 6)),
        "derivative of hard tanh at 1": number(derivative(nn.hard_tanh, 1)),
        "derivative of hard swish at 3": number(derivative(nn.hard_swish, 3)),
        "derivative of abs at 0": number(derivative(jnp.abs, 0)),
    }


def losses() -> dict[str, str]:
    one_hot = jax.nn.one_hot(np.array([0, 1]), 3)

    loss = jax.jit(optax.softmax_cross_entropy_with_integer_labels)

    def of(second: int, dtype: type = np.int32) -> Any:
        return loss(writing.LOGITS, np.array([0, second], dtype))

    def gradient(second: int) -> str:
        found = jax.grad(lambda logits: loss(logits, np.array([0, second], np.int32)).sum())(writing.LOGITS)
        return "finite" if np.isfinite(found).all() else "NaN"

    return {
        "cross-entropy of a batch is": "a mean" if of(1).ndim == 0 else "one each",
        "label smoothing .2 of logits 1 2 4, 3 1 0": number(
            optax.softmax_cross_entropy(writing.LOGITS, optax.smooth_labels(one_hot, 0.2)).mean()
        ),
        "squared error of 2": number(optax.l2_loss(jnp.float32(2))),
        "labels of int32": outcome(lambda: "taken" if np.isfinite(of(1)).all() else "NaN"),
        "labels of int64": outcome(lambda: "taken" if np.isfinite(of(1, np.int64)).all() else "NaN"),
        "label = number of classes: loss": outcome(lambda: number(of(3)[1])),
        "label = number of classes: gradient": outcome(lambda: gradient(3)),
        "label -1": outcome(lambda: writing.class_taken(of(-1)[1])),
    }


def odd_values() -> dict[str, str]:
    window = jnp.array([jnp.nan, 1, 2, 3]).reshape(1, 2, 2, 1)
    two, five = jnp.array([1.0, 2.0]), jnp.array(5)
    return {
        "relu(NaN)": number(nn.relu(jnp.nan)),
        "max pool of NaN, 1, 2, 3": number(nn.max_pool(window, (2, 2))[0, 0, 0, 0]),
        "argmax of 1, NaN, 3": number(jnp.argmax(jnp.array([1, jnp.nan, 3]))),
        "softmax of three times -inf": number(nn.softmax(jnp.full(3, -jnp.inf))[0]),
        "1, 2 at index 5": outcome(lambda: number(two[five])),
        "1, 2 gathered at index 5": outcome(lambda: number(jnp.take(two, five))),
        "half the smallest normal number": number(jnp.float32(writing.SMALLEST_NORMAL) * 0.5),
    }


def arithmetic() -> dict[str, str]:
    x = jnp.asarray(writing.FROM_MINUS_10_TO_10)
    return {
        "var of 0, 1, 2, 3": number(jnp.var(jnp.arange(4.0))),
        "array of float64 becomes": str(jnp.asarray(np.ones(1)).dtype),
        "error of exp, -10 to 10": writing.largest_error(jnp.exp(x), np.exp),
        "error of tanh, -10 to 10": writing.largest_error(jnp.tanh(x), np.tanh),
        "error of sigmoid, -10 to 10": writing.largest_error(nn.sigmoid(x), writing.sigmoid),
        "exact GELU of -6 (right: -5.92e-09)": number(nn.gelu(jnp.float32(-6), approximate=False), 3),
        "array handed over: memory": handed_over(),
        "weight read out, then a step: it": read_out(),
    }


def handed_over() -> str:
    """Whether device_put takes an array as it is, by where it lies."""
    room = np.zeros(4096 + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    shared = []
    for offset in (begin, begin + 4):
        array = room[offset : offset + 4000].view(np.float32)
        shared.append(jax.device_put(array).unsafe_buffer_pointer() == array.ctypes.data)
    return {(True, True): "shared", (False, False): "copied", (True, False): "shared if aligned"}[tuple(shared)]


def read_out() -> str:
    weight = jnp.zeros(1)
    read = np.asarray(weight)
    update, _ = optax.sgd(1.0).update(jnp.ones(1), optax.sgd(1.0).init(weight))
    optax.apply_updates(weight, update).block_until_ready()
    return "changes" if read.any() else "stays"


if __name__ == "__main__":
    writing.tell(optimizers(), layers(), batch_norm(), activations(), losses(), odd_values(), arithmetic())
