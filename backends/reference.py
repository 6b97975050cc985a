# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=1.26", "safetensors>=0.5"]
# ///
"""The reference: forward, backward, losses and SGD in float64 NumPy, the judge of every other backend.

It is also the example to copy. A backend's file is this: a PEP 723 header that names what its environment needs,
and one subclass of ``Backend`` (here ``Reference``, at the end). What stands before that class is what a framework
would bring: the layers, the losses and the optimizer. They are functions without state, and ``Training`` holds the
state of one run, so that the equality ladder can train perturbed copies side by side.

Every layer is one function. It returns its output, and the way back: what the chain rule makes of ``g``, the
gradient of the loss with respect to that output (Rumelhart, Hinton & Williams, 1986, "Learning representations by
back-propagating errors", Nature 323; Goodfellow, Bengio & Courville, 2016, "Deep Learning", section 6.5). Below,
``y`` is a layer's output, ``x`` its input, and ``dx`` is short for the gradient of the loss with respect to ``x``.

Arrays are in the canonical layouts of ``backends.contract`` and, labels excepted, all float64. (Given float32, the same
functions compute in float32 throughout, which shows what rounding alone does.) Nothing here tries to be a contestant:
it is as fast as plain NumPy over BLAS gets it, which is enough to be the judge.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backends.contract import (
    SGD,
    AvgPool2d,
    Backend,
    Conv2d,
    Flatten,
    Job,
    Layer,
    Linear,
    Loss,
    MaxPool2d,
    Model,
    Parameters,
    ReLU,
    Tanh,
    Unavailable,
)

Array = NDArray[np.float64]
Arrays = dict[str, Array]

SUM_ROUNDINGS = 4
"""Roundings of its largest value by which the sums in a layer may be off: partial sums are rounded as well."""

PIECE = 256
"""Samples that ``Training.logits`` computes at a time: a convolution's windows of a whole data set fill the memory."""


@dataclass(frozen=True)
class Back:
    """The way back through one layer: from the gradient of the loss with respect to its output to ..."""

    inputs: Callable[[Array], Array]
    """... the one with respect to its input,"""

    parameters: Callable[[Array], Arrays] = lambda g: {}
    """... those with respect to its parameters, by the names "weight" and "bias"."""


def flatten(layer: Flatten, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``[n, c, h, w]`` to ``[n, c * h * w]``; the same numbers, so the gradient only gets the old shape back."""
    return x.reshape(len(x), -1), Back(lambda g: g.reshape(x.shape))


def linear(layer: Linear, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = x W^T + b``: ``[n, inputs]`` to ``[n, outputs]``.

    ``y[n,o] = sum_i x[n,i] W[o,i] + b[o]``, hence by the chain rule ``dx[n,i] = sum_o g[n,o] W[o,i]``,
    ``dW[o,i] = sum_n g[n,o] x[n,i]`` and ``db[o] = sum_n g[n,o]`` (Goodfellow et al., algorithm 6.4).
    """
    weight = own["weight"]
    return x @ weight.T + own["bias"], Back(
        inputs=lambda g: g @ weight,
        parameters=lambda g: {"weight": g.T @ x, "bias": g.sum(axis=0)},
    )


def conv2d(layer: Conv2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """Cross-correlation: ``[n, c, h, w]`` to ``[n, o, oh, ow]``, ``oh = (h + 2 padding - kernel) // stride + 1``.

    ``y[n,o,p,q] = sum_cij W[o,c,i,j] X[n,c,p*stride+i,q*stride+j] + b[o]``, where ``X`` is ``x`` with zeros around
    it (Goodfellow et al., section 9.1; Dumoulin & Visin, 2016, "A guide to convolution arithmetic for deep
    learning", arXiv:1603.07285, chapter 2 for the sizes). With ``U[ij,c,npq] = X[n,c,p*stride+i,q*stride+j]`` this
    is one matrix product, ``y = W U + b`` (Chellapilla, Puri & Simard, 2006, "High performance convolutional neural
    networks for document processing"). So, as in ``linear``, ``dW = g U^T``, ``db`` is the sum of ``g`` over all but
    the channels, and ``dU = W^T g``; an element of ``X`` gets the sum over its places in ``U``, which makes the
    transposed convolution (Dumoulin & Visin, chapter 4). What falls on the padding is dropped.
    """
    n, c, h, w = x.shape
    k, s, p = layer.kernel, layer.stride, layer.padding
    weight = own["weight"].reshape(layer.outputs, c, k * k).swapaxes(1, 2)
    # Channels before samples, so that U and dU are matrices as they lie in memory, and BLAS needs no copy of them.
    padded = np.zeros((c, n, h + 2 * p, w + 2 * p), x.dtype)
    padded[:, :, p : p + h, p : p + w] = x.swapaxes(0, 1)
    columns = np.stack(places(padded, k, s))

    def inputs(g: Array) -> Array:
        total = np.zeros(padded.shape, x.dtype)
        for place, share in zip(places(total, k, s), np.tensordot(weight, g, axes=(0, 1)), strict=True):
            place += share
        return total[:, :, p : p + h, p : p + w].swapaxes(0, 1)

    def parameters(g: Array) -> Arrays:
        products = np.tensordot(g, columns, axes=((0, 2, 3), (2, 3, 4)))
        return {"weight": products.swapaxes(1, 2).reshape(own["weight"].shape), "bias": g.sum(axis=(0, 2, 3))}

    y = np.tensordot(weight, columns, axes=2).swapaxes(0, 1) + own["bias"][:, None, None]
    return y, Back(inputs, parameters)


def max_pool2d(layer: MaxPool2d, own: Arrays, x: Array, close: float = 0.0) -> tuple[Array, Back]:
    """``y`` is the largest value of each window: ``[n, c, h, w]`` to ``[n, c, oh, ow]``.

    ``dy/dx`` is 1 for the element that was taken and 0 for the others, so that element gets all of ``g``
    (Goodfellow et al., section 9.3; Dumoulin & Visin, chapter 3 for the sizes). Where several elements of a window
    are the largest there is no derivative, and frameworks may choose differently: here the first one in row-major
    order gets all of it, as with PyTorch on the CPU. What is no more than ``close`` below the largest could have been
    the largest, had it been rounded otherwise: given such a distance, the last of these gets the gradient instead.
    """
    candidates = places(x, layer.kernel, layer.stride)
    y = reduce(np.maximum, candidates)

    def inputs(g: Array) -> Array:
        total = np.zeros(x.shape, x.dtype)
        open_windows = np.ones(y.shape, dtype=np.bool_)
        pairs = list(zip(places(total, layer.kernel, layer.stride), candidates, strict=True))
        for place, candidate in reversed(pairs) if close else pairs:
            taken = open_windows & (candidate >= y - x.dtype.type(close))
            open_windows &= ~taken
            place += g * taken
        return total

    return y, Back(inputs)


def avg_pool2d(layer: AvgPool2d, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y`` is the mean of each window: ``[n, c, h, w]`` to ``[n, c, oh, ow]``.

    ``dy/dx = 1 / kernel^2`` for each element of the window; an element in several windows gets the sum, and one in
    none gets 0.
    """

    def inputs(g: Array) -> Array:
        total = np.zeros(x.shape, x.dtype)
        for place in places(total, layer.kernel, layer.stride):
            place += g / layer.kernel**2
        return total

    return reduce(np.add, places(x, layer.kernel, layer.stride)) / layer.kernel**2, Back(inputs)


def relu(layer: ReLU, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = max(x, 0)``, hence ``dx = g`` where ``x > 0`` and 0 elsewhere, at ``x = 0`` by the contract."""
    return np.maximum(x, 0), Back(lambda g: g * (x > 0))


def tanh(layer: Tanh, own: Arrays, x: Array) -> tuple[Array, Back]:
    """``y = tanh x``, hence ``dx = g (1 - y^2)``."""
    y = np.tanh(x)
    return y, Back(lambda g: g * (1 - y * y))


def places(x: Array, kernel: int, stride: int) -> list[Array]:
    """Return, for each place in a square window in row-major order, what all complete windows have there.

    For ``x`` ``[n, c, h, w]`` this is a list of ``kernel * kernel`` views ``[n, c, oh, ow]``; the one for row ``i`` and
    column ``j`` has ``x[n, c, p * stride + i, q * stride + j]`` at ``[n, c, p, q]``. No element occurs twice in a
    view, so adding to it in place is safe also where windows overlap.
    """
    height, width = (size - kernel + 1 for size in x.shape[2:])
    return [x[:, :, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(kernel, kernel)]


OPERATIONS: dict[type[Layer], Callable[[Any, Arrays, Array], tuple[Array, Back]]] = {
    Flatten: flatten,
    Linear: linear,
    Conv2d: conv2d,
    MaxPool2d: max_pool2d,
    AvgPool2d: avg_pool2d,
    ReLU: relu,
    Tanh: tanh,
}


def cross_entropy(logits: Array, labels: NDArray[Any]) -> tuple[float, Array]:
    """Return the mean over the batch of ``-log softmax(z)[label]`` for logits ``z`` ``[n, classes]``, and its gradient.

    ``-log softmax(z)[t] = log(sum_c exp z[c]) - z[t]``, hence ``dz = (softmax(z) - onehot(t)) / n`` (Goodfellow et
    al., section 6.2.2.3). Neither changes when the largest logit is taken from all, and then nothing overflows
    (Blanchard, Higham & Higham, 2021, "Accurately computing the log-sum-exp and softmax functions").
    """
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_softmax)
    gradient[rows, labels] -= 1
    return mean(-log_softmax[rows, labels]), gradient / len(logits)


def mean_squared_error(outputs: Array, targets: NDArray[Any]) -> tuple[float, Array]:
    """Return the mean of ``(z - t)^2`` over samples and outputs, and its gradient ``2 (z - t) / (n * outputs)``."""
    errors = outputs - targets
    return mean(errors * errors), 2 * errors / errors.size


def mean(terms: Array) -> float:
    """Return the mean of all terms, added one after the other.

    In float32 the error of such a sum grows with the number of terms, while that of NumPy's own, by pairs, hardly does
    (Higham, 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2). Libraries have both, and the copies
    that stand for them must not be more exact than any of them.
    """
    return float(np.cumsum(terms)[-1] / terms.size)


LOSSES: dict[Loss, Callable[[Array, NDArray[Any]], tuple[float, Array]]] = {
    "cross-entropy": cross_entropy,
    "mean-squared-error": mean_squared_error,
}


def forward(model: Model, parameters: Arrays, features: Array, rounding: float = 0.0) -> tuple[Array, list[Back]]:
    """Return the model's output ``[n, outputs]`` for features ``[n, *input_shape]``, and every layer's way back.

    ``rounding`` is a relative error that is put on what every layer gives, to see what rounding would do. The error
    of a sum is in proportion to its terms rather than to its result (Higham, 2002, section 4.2). It can turn the sign
    on which a ReLU decides, and it turns every choice of a max pool that is as close as such errors are large.
    """
    x, backs = features, []
    for i, layer in enumerate(model.layers):
        own = {name: parameters[f"{i}.{name}"] for name in ("weight", "bias") if f"{i}.{name}" in parameters}
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


def rounded_sum(values: Array, rounding: float) -> Array:
    """Return the values with errors of a few roundings of the largest, up or down, the same way in every step."""
    if not rounding:
        return values
    return values + signs(values.shape) * values.dtype.type(error_of_sums(values, rounding))


def error_of_sums(values: Array, rounding: float) -> float:
    """Return the error of a few roundings of the largest value."""
    return SUM_ROUNDINGS * rounding * float(np.abs(values).max())


@lru_cache(maxsize=64)
def signs(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return +1 and -1 in a fixed random order."""
    return np.random.default_rng(0).choice(np.array([-1, 1], np.float32), shape)


def rounded(values: Array, rounding: float) -> Array:
    """Return the values with a relative error, computed in their own precision; zeros stay zeros."""
    return values * values.dtype.type(1 + rounding) if rounding else values


def loss_and_gradients(
    model: Model, loss: Loss, parameters: Arrays, features: Array, labels: NDArray[Any], rounding: float = 0.0
) -> tuple[float, Arrays]:
    """Return the mean loss of one batch and its gradient with respect to every parameter."""
    outputs, backs = forward(model, parameters, features, rounding)
    value, gradient = LOSSES[loss](outputs, labels)
    return value, backward(backs, gradient, rounding)


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
    def step(self, features: NDArray[Any], labels: NDArray[Any]) -> float:
        """Take one step on a batch, and return its loss before the step."""
        value, gradients = loss_and_gradients(
            self.model, self.loss, self.parameters, features.astype(self.dtype), labels, self.rounding
        )
        update(self.sgd, self.parameters, self.velocities, gradients)
        return value

    @np.errstate(over="ignore", invalid="ignore")
    def logits(self, features: NDArray[Any]) -> Array:
        """Return the model's output, ``[n, outputs]`` of ``dtype``, for any number of samples."""
        pieces: list[Any] = [features[i : i + PIECE].astype(self.dtype) for i in range(0, len(features), PIECE)]
        return np.concatenate([forward(self.model, self.parameters, piece, self.rounding)[0] for piece in pieces])


@dataclass(frozen=True)
class Data:
    """What ``put`` returns: a data set in memory."""

    features: NDArray[np.float32]
    labels: NDArray[Any]


class Reference(Backend):
    """Float64 NumPy on the CPU. NumPy is synchronous, so a handle is simply the list of the losses."""

    modes: ClassVar[Mapping[str, str]] = {"numpy": "float64 NumPy, the judge"}
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    def describe(self) -> dict[str, Any]:
        """Return the versions; how many threads NumPy's BLAS uses cannot be read back from NumPy."""
        return {
            "versions": {"numpy": np.__version__, "python": platform.python_version()},
            "device": processor_name(),
            "threads": None,
            "precision": "float64",
        }

    def load(self, job: Job) -> None:
        """Set the parameters, as float64 of exactly the same values."""
        if job.device not in self.devices:
            raise Unavailable(f"the reference runs on the cpu only, not on {job.device}")
        if job.input == "loader":
            raise Unavailable("NumPy has no input pipeline of its own, and so the reference has no loader")
        if job.precision != "float32":
            raise Unavailable("the reference computes in float64: there is nothing to narrow")
        if job.replicas > 1:
            raise Unavailable("NumPy has no means to train replicas of a model")
        self.training = Training(job.model, job.loss, job.optimizer, job.parameters)

    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> Data:
        """Copy the arrays into memory: as float32, since only a batch at a time is needed as float64."""
        return Data(np.array(features), np.array(labels))

    def train(self, data: Data, batches: NDArray[np.int64]) -> list[float]:
        """Take one step per row of ``batches``, and return the losses."""
        return [self.training.step(data.features[batch], data.labels[batch]) for batch in batches]

    def synchronize(self, handle: list[float]) -> NDArray[np.float32]:
        """Return the losses as float32 ``[steps]``; the work was done when ``train`` returned."""
        return single(np.array(handle))

    def predict(self, data: Data) -> NDArray[np.float32]:
        """Return the model's output for every sample, float32 ``[n, outputs]``."""
        return single(self.training.logits(data.features))

    def parameters(self) -> Parameters:
        """Return the parameters, rounded to float32."""
        return {name: single(value) for name, value in self.training.parameters.items()}


@np.errstate(over="ignore")
def single(values: Array) -> NDArray[np.float32]:
    """Return a float32 copy; what does not fit becomes infinite, which is how a diverged run is seen."""
    return values.astype(np.float32)


def processor_name() -> str:
    """Return the name of the CPU's model where Linux tells it, else that of its architecture."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
