"""The layers: each is one function, which returns the layer's output, and the way back.

The way back is what the chain rule makes of ``g``, the gradient of the loss with respect to that output (Rumelhart,
Hinton & Williams, 1986, "Learning representations by back-propagating errors", Nature 323; Goodfellow, Bengio &
Courville, 2016, "Deep Learning", section 6.5). Below, ``y`` is a layer's output, ``x`` its input, and ``dx`` is short
for the gradient of the loss with respect to ``x``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends import contract
from backends.contract import Flatten, Layer, Linear
from backends.float64.activations import gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from backends.float64.arrays import Array, Arrays, Back
from backends.float64.normalization import batch_norm
from backends.float64.windows import avg_pool2d, conv2d, global_avg_pool2d, max_pool2d


def flatten(layer: Flatten, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``[n, c, h, w]`` to ``[n, c * h * w]``; the same numbers, so the gradient only gets the old shape back."""
    return x.reshape(len(x), -1), Back(lambda g: g.reshape(x.shape))


def linear(layer: Linear, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = x W^T + b``: ``[n, inputs]`` to ``[n, outputs]``.

    ``y[n,o] = sum_i x[n,i] W[o,i] + b[o]``, hence by the chain rule ``dx[n,i] = sum_o g[n,o] W[o,i]``,
    ``dW[o,i] = sum_n g[n,o] x[n,i]`` and ``db[o] = sum_n g[n,o]`` (Goodfellow et al., algorithm 6.4).
    """
    weight = own["weight"]
    y = x @ weight.T
    if not layer.bias:
        return y, Back(lambda g: g @ weight, lambda g: {"weight": g.T @ x})
    return y + own["bias"], Back(lambda g: g @ weight, lambda g: {"weight": g.T @ x, "bias": g.sum(axis=0)})


OPERATIONS: dict[type[Layer], Callable[[Any, Arrays, Array], tuple[Array, Back]]] = {
    contract.Flatten: flatten,
    contract.Linear: linear,
    contract.Conv2d: conv2d,
    contract.MaxPool2d: max_pool2d,
    contract.AvgPool2d: avg_pool2d,
    contract.GlobalAvgPool2d: global_avg_pool2d,
    contract.BatchNorm: batch_norm,
    contract.ReLU: relu,
    contract.LeakyReLU: leaky_relu,
    contract.Tanh: tanh,
    contract.Sigmoid: sigmoid,
    contract.SiLU: silu,
    contract.GELU: gelu,
    contract.Softplus: softplus,
}
"""All but residual blocks, which are chains of these."""
