"""Training: forward through all layers and backward, and ``Training``, which holds the state of one run.

All else in this package is functions without state, so that the equality ladder can train perturbed copies side by
side. Nothing here tries to be a contestant: it is as fast as plain NumPy over BLAS gets it, which is enough to be the
judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    GlobalAvgPool2d,
    Layer,
    Linear,
    Loss,
    MaxPool2d,
    Model,
    Optimizer,
    Residual,
)
from backends.float64.arrays import Array, Arrays, Back
from backends.float64.layers import OPERATIONS
from backends.float64.losses import LOSSES
from backends.float64.normalization import batch_norm
from backends.float64.optimizers import State, update
from backends.float64.rounding import error_of_sums, rounded, rounded_sum
from backends.float64.windows import max_pool2d

PIECE = 64
"""Samples that ``Training.logits`` computes at a time: a convolution's windows of a whole data set fill the memory."""

Watch = Callable[[str, Array], Array]
"""Gets the name of a layer and its input ``[n, ...]``, and returns what the layer is to get instead."""


def _as_it_is(_: str, x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Pass:
    """How a forward pass is made: ``training`` with the statistics of the batch, or else with the running ones.

    ``rounding`` is a relative error that is put on what every layer gives, to see what rounding would do. The error
    of a sum is in proportion to its terms rather than to its result (Higham, 2002, section 4.2). It can turn the sign
    on which a ReLU decides, and it turns every choice of a max pool that is as close as such errors are large.
    """

    training: bool = True
    rounding: float = 0.0
    watch: Watch = _as_it_is


@dataclass(frozen=True)
class Branches:
    """The way back through a residual block: those of its layers, and those of its shortcut."""

    layers: Backs
    shortcut: Backs


Backs = Sequence[Back | Branches]


def forward(model: Model, parameters: Arrays, features: Array, how: Pass = Pass()) -> tuple[Array, Backs]:
    """Return the model's output ``[n, outputs]`` for features ``[n, *input_shape]``, and every layer's way back."""
    return _chain(model.layers, parameters, features, how, "")


def _chain(layers: Sequence[Layer], parameters: Arrays, x: Array, how: Pass, prefix: str) -> tuple[Array, Backs]:
    backs: list[Back | Branches] = []
    for i, layer in enumerate(layers):
        if isinstance(layer, Residual):
            y, branch = _chain(layer.layers, parameters, x, how, f"{prefix}{i}.layers.")
            z, shortcut = _chain(layer.shortcut, parameters, x, how, f"{prefix}{i}.shortcut.")
            x = rounded(y + z, how.rounding)
            backs.append(Branches(branch, shortcut))
        else:
            x, back = _layer(layer, _own(parameters, f"{prefix}{i}."), how.watch(f"{prefix}{i}", x), how)
            backs.append(back)
    return x, backs


def _own(parameters: Arrays, prefix: str) -> Arrays:
    names = ("weight", "bias", "running_mean", "running_var")
    return {name: parameters[prefix + name] for name in names if prefix + name in parameters}


def _layer(layer: Layer, own: Arrays, x: Array, how: Pass) -> tuple[Array, Back]:
    rounding = how.rounding
    if isinstance(layer, BatchNorm):
        y, back = batch_norm(layer, own, x, how.training, rounding)
        return rounded_sum(y, rounding), back
    if rounding and isinstance(layer, MaxPool2d):
        y, back = max_pool2d(layer, own, x, error_of_sums(x, abs(rounding)))
    else:
        y, back = OPERATIONS[type(layer)](layer, own, x)
    is_sum = isinstance(layer, Linear | Conv2d | AvgPool2d | GlobalAvgPool2d)
    return rounded_sum(y, rounding) if is_sum else rounded(y, rounding), back


def backward(backs: Backs, gradient: Array, rounding: float = 0.0) -> Arrays:
    """Return the gradient of every parameter that has one, given the way back and the gradient of the model's output.

    The gradient with respect to the features is nobody's business, so it is not computed. ``rounding`` is as in
    ``Pass``.
    """
    gradients: Arrays = {}
    _back(backs, gradient, rounding, "", gradients, needs_input=False)
    return gradients


def _back(backs: Backs, g: Array, rounding: float, prefix: str, gradients: Arrays, needs_input: bool) -> Array:
    """Add the gradients of these layers' parameters; return that of their input, if it is needed."""
    for i in reversed(range(len(backs))):
        back, needed = backs[i], needs_input or i > 0
        if isinstance(back, Branches):
            shares = [
                _back(branch, g, rounding, f"{prefix}{i}.{name}.", gradients, needed)
                for name, branch in (("layers", back.layers), ("shortcut", back.shortcut))
            ]
            g = rounded(shares[0] + shares[1], rounding) if needed else g
            continue
        own = back.parameters(g)
        gradients.update({f"{prefix}{i}.{name}": rounded(value, rounding) for name, value in own.items()})
        if needed:
            # What batch normalization gives is a difference: its error is in proportion to the largest of its values.
            round_as = rounded_sum if back.statistics else rounded
            g = round_as(back.inputs(g), rounding)
    return g


def statistics(backs: Backs, prefix: str = "") -> Arrays:
    """Return the running statistics after the step whose forward pass this was."""
    found: Arrays = {}
    for i, back in enumerate(backs):
        if isinstance(back, Branches):
            found |= statistics(back.layers, f"{prefix}{i}.layers.")
            found |= statistics(back.shortcut, f"{prefix}{i}.shortcut.")
        else:
            found |= {f"{prefix}{i}.{name}": value for name, value in back.statistics.items()}
    return found


class Training:
    """One run: a model's parameters, and an optimizer's steps, in float64 or (to see what rounding does) in float32.

    ``parameters`` maps names to arrays of ``dtype``, at first exactly the values given (float32 fits into float64).
    A step replaces the arrays and writes into none of them. ``state`` is what the optimizer keeps.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        optimizer: Optimizer,
        parameters: Mapping[str, NDArray[Any]],
        dtype: type[np.float64] | type[np.float32] = np.float64,
        rounding: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        """Start from ``parameters``, float32 or float64, which are copied."""
        self.model, self.loss, self.optimizer, self.dtype, self.rounding = model, loss, optimizer, dtype, rounding
        self.parameters: Arrays = {name: np.array(value, dtype) for name, value in parameters.items()}
        self.state: State = {}
        self._smoothing = (smoothing,) if smoothing else ()

    # A run that diverges is an outcome (inf, then NaN), not a reason to warn.
    @np.errstate(over="ignore", invalid="ignore")
    def step(
        self, features: NDArray[Any], labels: NDArray[Any], watch: Watch = _as_it_is, rate: float | None = None
    ) -> float:
        """Take one step on a batch, and return its loss before the step.

        ``watch`` sees every layer's input; a ``rate`` takes the place of the optimizer's.
        """
        value, gradients, moved = self.gradients(features, labels, watch)
        optimizer = self.optimizer if rate is None else replace(self.optimizer, learning_rate=float(rate))
        update(optimizer, self.parameters, self.state, gradients)
        self.parameters.update(moved)
        return value

    @np.errstate(over="ignore", invalid="ignore")
    def gradients(
        self, features: NDArray[Any], labels: NDArray[Any], watch: Watch = _as_it_is
    ) -> tuple[float, Arrays, Arrays]:
        """Return the mean loss of a batch, its gradient for every parameter that has one, and the running statistics.

        Changes nothing.
        """
        how = Pass(rounding=self.rounding, watch=watch)
        outputs, backs = forward(self.model, self.parameters, features.astype(self.dtype), how)
        value, gradient = LOSSES[self.loss](outputs, labels, *self._smoothing)
        return value, backward(backs, gradient, self.rounding), statistics(backs)

    @np.errstate(over="ignore", invalid="ignore")
    def logits(self, features: NDArray[Any]) -> Array:
        """Return the model's output, ``[n, outputs]`` of ``dtype``, for any number of samples."""
        how = Pass(training=False, rounding=self.rounding)
        pieces: list[Any] = [features[i : i + PIECE].astype(self.dtype) for i in range(0, len(features), PIECE)]
        return np.concatenate([forward(self.model, self.parameters, piece, how)[0] for piece in pieces])
