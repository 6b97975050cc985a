"""Training: forward through all layers and backward, and ``Training``, which holds the state of one run.

All else in this package is functions without state, so that the equality ladder can train perturbed copies side by
side. Nothing here tries to be a contestant: it is as fast as plain NumPy over BLAS gets it, which is enough to be the
judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import SGD, AvgPool2d, Conv2d, Linear, Loss, MaxPool2d, Model
from backends.float64.arrays import Array, Arrays
from backends.float64.layers import OPERATIONS, Back, max_pool2d
from backends.float64.losses import LOSSES
from backends.float64.optimizers import update
from backends.float64.rounding import error_of_sums, rounded, rounded_sum

PIECE = 256
"""Samples that ``Training.logits`` computes at a time: a convolution's windows of a whole data set fill the memory."""

Watch = Callable[[int, Array], Array]
"""Gets the number of a layer and its input ``[n, ...]``, and returns what the layer is to get instead."""


def _as_it_is(_: int, x: Array) -> Array:
    return x


def forward(
    model: Model, parameters: Arrays, features: Array, rounding: float = 0.0, watch: Watch = _as_it_is
) -> tuple[Array, list[Back]]:
    """Return the model's output ``[n, outputs]`` for features ``[n, *input_shape]``, and every layer's way back.

    ``rounding`` is a relative error that is put on what every layer gives, to see what rounding would do. The error
    of a sum is in proportion to its terms rather than to its result (Higham, 2002, section 4.2). It can turn the sign
    on which a ReLU decides, and it turns every choice of a max pool that is as close as such errors are large.
    """
    x, backs = features, []
    for i, layer in enumerate(model.layers):
        own = {name: parameters[f"{i}.{name}"] for name in ("weight", "bias") if f"{i}.{name}" in parameters}
        x = watch(i, x)
        if rounding and isinstance(layer, MaxPool2d):
            x, back = max_pool2d(layer, own, x, error_of_sums(x, abs(rounding)))
        else:
            x, back = OPERATIONS[type(layer)](layer, own, x)
        x = rounded_sum(x, rounding) if isinstance(layer, Linear | Conv2d | AvgPool2d) else rounded(x, rounding)
        backs.append(back)
    return x, backs


def backward(backs: list[Back], gradient: Array, rounding: float = 0.0) -> Arrays:
    """Return the gradient of every parameter, given the way back and the gradient with respect to the model's output.

    The gradient with respect to the features is nobody's business, so it is not computed. ``rounding`` is as in
    ``forward``.
    """
    gradients: Arrays = {}
    for i in reversed(range(len(backs))):
        own = backs[i].parameters(gradient)
        gradients.update({f"{i}.{name}": rounded(value, rounding) for name, value in own.items()})
        if i > 0:
            gradient = rounded(backs[i].inputs(gradient), rounding)
    return gradients


def loss_and_gradients(
    model: Model,
    loss: Loss,
    parameters: Arrays,
    features: Array,
    labels: NDArray[Any],
    rounding: float = 0.0,
    watch: Watch = _as_it_is,
) -> tuple[float, Arrays]:
    """Return the mean loss of one batch and its gradient with respect to every parameter."""
    outputs, backs = forward(model, parameters, features, rounding, watch)
    value, gradient = LOSSES[loss](outputs, labels)
    return value, backward(backs, gradient, rounding)


class Training:
    """One run: a model's parameters, and SGD on them, in float64 or (to see what rounding does) in float32.

    ``parameters`` maps names to arrays of ``dtype``, at first exactly the values given (float32 fits into float64).
    A step replaces the arrays and writes into none of them.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        sgd: SGD,
        parameters: Mapping[str, NDArray[Any]],
        dtype: type[np.float64] | type[np.float32] = np.float64,
        rounding: float = 0.0,
    ) -> None:
        """Start from ``parameters``, float32 or float64, which are copied."""
        self.model, self.loss, self.sgd, self.dtype, self.rounding = model, loss, sgd, dtype, rounding
        self.parameters: Arrays = {name: np.array(value, dtype) for name, value in parameters.items()}
        self.velocities: Arrays = {}

    # A run that diverges is an outcome (inf, then NaN), not a reason to warn.
    @np.errstate(over="ignore", invalid="ignore")
    def step(self, features: NDArray[Any], labels: NDArray[Any], watch: Watch = _as_it_is) -> float:
        """Take one step on a batch, and return its loss before the step; ``watch`` sees every layer's input."""
        value, gradients = loss_and_gradients(
            self.model, self.loss, self.parameters, features.astype(self.dtype), labels, self.rounding, watch
        )
        update(self.sgd, self.parameters, self.velocities, gradients)
        return value

    @np.errstate(over="ignore", invalid="ignore")
    def logits(self, features: NDArray[Any]) -> Array:
        """Return the model's output, ``[n, outputs]`` of ``dtype``, for any number of samples."""
        pieces: list[Any] = [features[i : i + PIECE].astype(self.dtype) for i in range(0, len(features), PIECE)]
        return np.concatenate([forward(self.model, self.parameters, piece, self.rounding)[0] for piece in pieces])
