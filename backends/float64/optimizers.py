"""The optimizer: SGD with momentum, Nesterov's too, and weight decay."""

from __future__ import annotations

from backends.contract import SGD
from backends.float64.arrays import Arrays


def update(sgd: SGD, parameters: Arrays, velocities: Arrays, gradients: Arrays) -> None:
    """Take one step of SGD, in place: replace the entries of ``parameters`` and ``velocities``.

    The formulas are those of ``backends.contract.SGD``: the documentation of ``torch.optim.SGD``, without
    dampening. There ``v`` sums gradients, and the learning rate is applied after it; Sutskever, Martens, Dahl &
    Hinton (2013, "On the importance of initialization and momentum in deep learning") have it inside ``v``, which is
    the same as long as it is constant. Velocities start empty, which is ``v = g`` in the first step.
    """
    for name, g in gradients.items():
        p = parameters[name]
        g = g + sgd.weight_decay * p
        v = sgd.momentum * velocities[name] + g if name in velocities else g
        parameters[name] = p - sgd.learning_rate * (g + sgd.momentum * v if sgd.nesterov else v)
        velocities[name] = v
