"""The optimizers: SGD with momentum, Nesterov's too, and Adam, with weight decay and clipping."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from backends.contract import SGD, Adam, Optimizer
from backends.float64.arrays import Array, Arrays


class Moments(NamedTuple):
    """What Adam keeps of a parameter: its two moments, and how many steps they have seen."""

    first: Array
    second: Array
    steps: int


State = dict[str, Any]
"""What an optimizer keeps of every parameter, its velocity or its ``Moments``; empty before the first step."""


def update(optimizer: Optimizer, parameters: Arrays, state: State, gradients: Arrays) -> None:
    """Take one step, in place: replace the entries of ``parameters`` that have a gradient, and those of ``state``.

    The formulas are those of ``backends.contract.SGD`` and ``Adam``.
    """
    gradients = clipped(gradients, optimizer.clip_norm)
    step = _adam if isinstance(optimizer, Adam) else _sgd
    for name, g in gradients.items():
        parameters[name], state[name] = step(optimizer, parameters[name], state.get(name), g)  # type: ignore[arg-type]


def clipped(gradients: Arrays, limit: float) -> Arrays:
    """Scale all gradients alike so that their norm, taken together, is at most ``limit``; 0 leaves them as they are.

    Pascanu, Mikolov & Bengio (2013, "On the difficulty of training recurrent neural networks", algorithm 1).
    """
    norm = math.sqrt(sum(float((g * g).sum()) for g in gradients.values())) if limit else 0.0
    if norm <= limit:
        return gradients
    return {name: g * g.dtype.type(limit / norm) for name, g in gradients.items()}


def _sgd(sgd: SGD, p: Array, old: Array | None, g: Array) -> tuple[Array, Array]:
    """The documentation of ``torch.optim.SGD``, without dampening: ``v`` sums gradients, the rate is applied after it.

    Sutskever, Martens, Dahl & Hinton (2013, "On the importance of initialization and momentum in deep learning") have
    the rate inside ``v``, which is the same as long as it is constant. Without a velocity, ``v = g``.
    """
    g = g + sgd.weight_decay * p
    v = g if old is None else sgd.momentum * old + g
    return p - sgd.learning_rate * (g + sgd.momentum * v if sgd.nesterov else v), v


def _adam(adam: Adam, p: Array, old: Moments | None, g: Array) -> tuple[Array, Moments]:
    """Kingma & Ba (2015), algorithm 1; decoupled, Loshchilov & Hutter (2019, arXiv:1711.05101), algorithm 2."""
    if adam.decoupled:
        p = p * (1 - adam.learning_rate * adam.weight_decay)
    else:
        g = g + adam.weight_decay * p
    m, v, steps = old or (0 * g, 0 * g, 0)
    # In the precision of the arrays, as some kernels do it: in float32, 1 - 0.999 has lost three of seven digits. So it
    # has in optax's corrections; to lose them in one of the two places moves v and p as far as any library does.
    own = replace(adam, beta1=g.dtype.type(adam.beta1), beta2=g.dtype.type(adam.beta2))
    m = own.beta1 * m + (1 - own.beta1) * g
    v = own.beta2 * v + (1 - own.beta2) * (g * g)
    steps += 1
    root = (v / (1 - adam.beta2**steps)) ** 0.5
    p = p - adam.learning_rate / (1 - adam.beta1**steps) * (m / (root + adam.epsilon))
    return p, Moments(m, v, steps)
