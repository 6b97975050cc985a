"""What a backend is asked to do: the model, the optimizer, and the methods that every framework's file implements.

This module is imported inside every worker, and by the command line, which starts at once: so it imports nothing but
the standard library, and only names NumPy's types.

Canonical layouts, whatever a framework likes inside:

- images are float32 ``[n, channels, height, width]``; feature vectors are float32 ``[n, features]``;
- class labels are int32 ``[n]``; regression targets are float32 ``[n, outputs]``;
- ``linear`` weights are ``[outputs, inputs]``; ``conv2d`` weights are ``[outputs, inputs / groups, height, width]``;
- ``batch_norm`` has a weight, a bias, a running mean and a running variance, each ``[channels]``;
- ``flatten`` keeps the order channels, height, width.

The parameters of layer ``i`` of the model (counted from 0, layers without parameters included) are called
``"{i}.weight"``, ``"{i}.bias"``, ``"{i}.running_mean"`` and ``"{i}.running_var"``. In a residual block ``i``, those of
layer ``j`` of its branch begin with ``"{i}.layers.{j}."``, those of its shortcut with ``"{i}.shortcut.{j}."``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Parameters = dict[str, "NDArray[np.float32]"]
Loss = Literal["cross-entropy", "mean-squared-error"]
Input = Literal["resident", "loader"]
Precision = Literal["float32", "tf32"]
Pair = tuple[int, int]
"""Height and width, in pixels."""
Part = Literal["gather", "forward", "loss", "backward", "update", "loop"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What a mode may compile, in the order in which it happens; "loop" is that over the steps of a call."""
SMALLEST_NORMAL = 2.0**-126
"""The smallest normal number of float32: those below are subnormal, and many frameworks make them 0."""
STATISTICS = ("running_mean", "running_var")
"""Parameters that training does not learn by their gradient: the last parts of their names."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
"""Environment variables that tell a process how many threads it is to have."""


@dataclass(frozen=True)
class Flatten:
    """``[n, channels, height, width]`` to ``[n, channels * height * width]``."""


@dataclass(frozen=True)
class Linear:
    """``x @ weight.T + bias``: ``[n, inputs]`` to ``[n, outputs]``; without ``bias`` there is no such parameter."""

    inputs: int
    outputs: int
    bias: bool = True


@dataclass(frozen=True)
class Conv2d:
    """Cross-correlation with zero padding on opposite sides alike, and a bias per output channel if ``bias``.

    Inputs and outputs are cut into ``groups`` of consecutive channels, and each group of outputs sees its inputs only.
    """

    inputs: int
    outputs: int
    kernel: Pair
    stride: Pair
    padding: Pair
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True)
class MaxPool2d:
    """Largest value of each window; incomplete windows at the border are dropped, and padding is never the largest.

    Where several elements of a window are the largest, the first of them in row-major order gets all of the gradient.
    """

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)


@dataclass(frozen=True)
class AvgPool2d:
    """Mean of each window, the zeros of the padding counted; incomplete windows at the border are dropped."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)


@dataclass(frozen=True)
class GlobalAvgPool2d:
    """Mean of each channel: ``[n, channels, height, width]`` to ``[n, channels]``."""


@dataclass(frozen=True)
class BatchNorm:
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` for each channel, or for each feature of ``[n, features]``.

    In training, mean and var are those of the batch (over samples and pixels; var divided by their number, biased),
    and the gradient goes through them. Each step then moves the running statistics, which ``predict`` uses, by
    ``running = (1 - momentum) * running + momentum * of the batch``, whose var is divided by the number less one
    (Ioffe & Szegedy, 2015, arXiv:1502.03167, algorithms 1 and 2; torch.nn.BatchNorm2d).
    """

    channels: int
    momentum: float
    epsilon: float


@dataclass(frozen=True)
class ReLU:
    """``max(x, 0)``; its derivative at 0 is 0."""


@dataclass(frozen=True)
class LeakyReLU:
    """``x`` where ``x > 0``, else ``slope * x``; its derivative at 0 is ``slope``, as in PyTorch."""

    slope: float


@dataclass(frozen=True)
class Tanh:
    """Hyperbolic tangent."""


@dataclass(frozen=True)
class Sigmoid:
    """``1 / (1 + exp(-x))``."""


@dataclass(frozen=True)
class SiLU:
    """``x / (1 + exp(-x))``."""


@dataclass(frozen=True)
class GELU:
    """``x Phi(x)``, where Phi is the distribution function of the normal distribution (Hendrycks & Gimpel, 2016).

    If ``tanh``, the paper's approximation: ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``.
    """

    tanh: bool


@dataclass(frozen=True)
class Softplus:
    """``log(1 + exp(x))``."""


@dataclass(frozen=True)
class Residual:
    """``layers(x) + shortcut(x)``; an empty shortcut is the identity. Blocks may be nested."""

    layers: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()


Activation = ReLU | LeakyReLU | Tanh | Sigmoid | SiLU | GELU | Softplus
Pool = MaxPool2d | AvgPool2d
Layer = Flatten | Linear | Conv2d | Pool | GlobalAvgPool2d | BatchNorm | Activation | Residual
LAYERS: dict[str, type[Layer]] = {
    "flatten": Flatten,
    "linear": Linear,
    "conv2d": Conv2d,
    "max_pool2d": MaxPool2d,
    "avg_pool2d": AvgPool2d,
    "global_avg_pool2d": GlobalAvgPool2d,
    "batch_norm": BatchNorm,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "silu": SiLU,
    "gelu": GELU,
    "softplus": Softplus,
    "residual": Residual,
}


@dataclass(frozen=True)
class Model:
    """A chain of layers, and the shape of a sample that enters it: ``(channels, height, width)`` or ``(features,)``."""

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, as ``torch.optim.SGD`` defines it (Sutskever et al., 2013, for the momentum).

    With gradient ``g`` of the mean loss of the batch, parameter ``p`` and velocity ``v`` (first step: ``v = g``)::

        g = g * min(1, clip_norm / norm)      # if clip_norm is not 0: norm is that of all gradients together
        g = g + weight_decay * p
        v = momentum * v + g
        p = p - learning_rate * (g + momentum * v if nesterov else v)

    Weight decay applies to every parameter that has a gradient, biases included. There is no dampening.
    """

    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    clip_norm: float = 0.0


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, 2015, arXiv:1412.6980, algorithm 1), as ``torch.optim.Adam`` and ``AdamW`` define it.

    With moments ``m`` and ``v`` that begin with 0, in step ``t``, counted from 1::

        g = g * min(1, clip_norm / norm)      # if clip_norm is not 0: norm is that of all gradients together
        if decoupled: p = p - learning_rate * weight_decay * p      # AdamW (Loshchilov & Hutter, 2019)
        else:         g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    Epsilon is outside the root and is not bias-corrected. Weight decay applies to every parameter that has a gradient.
    """

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    decoupled: bool
    clip_norm: float = 0.0


Optimizer = SGD | Adam


@dataclass(frozen=True, eq=False)
class Job:
    """What a backend is asked to train, and how. What is added later is one more field, with a default."""

    model: Model
    loss: Loss
    """The mean over the batch; the mean squared error is the mean over samples and outputs."""
    optimizer: Optimizer
    mode: str
    """One of the backend's ``modes``."""
    parameters: Parameters = field(default_factory=dict)
    """What training starts from, every parameter of the model. (The parent names their file instead.)"""
    device: str = "cpu"
    """"cpu" or "gpu"."""
    input: Input = "resident"
    """Where ``train`` takes its batches from. "resident": ``put`` moves the data set to the device, and each batch is
    one gather there. "loader": what ``put`` gets stays in host memory, and ``train`` feeds exactly the given batches,
    in the given order, through the framework's own input pipeline, as its tutorials do."""
    precision: Precision = "float32"
    """The arithmetic of products. "float32": all of it, also where the framework's default is less. "tf32": inputs of
    products are rounded to 10 bits after the binary point, which GPUs of NVIDIA can do."""
    replicas: int = 1
    """So many replicas of the model share the work of every batch, by the framework's own means: each takes a part of
    its samples, and the gradients are averaged so that the step is that of the whole batch on one device, also where
    the parts are not of the same size. ``synchronize`` returns the losses of whole batches. Replicas that are processes
    (``launcher``) are all asked for the same, and any of them may be the one that answers."""
    label_smoothing: float = 0.0
    """Share of the target of a cross-entropy that is spread over all classes alike: ``(1 - s) * onehot + s / classes``
    (Szegedy et al., 2016, arXiv:1512.00567, section 7)."""
    scheduled: bool = False
    """Whether ``train`` gets the learning rate of each step, instead of the constant one of the optimizer."""
    stock: bool = False
    """Whether to train without the tuning that lockstep's backends set and an ordinary user of the framework does not
    have (benchmarks/TUNING.md). A backend without such tuning has nothing to do."""


class Unavailable(Exception):
    """The backend cannot do this here (a device, a layer, an option); the message is the reason that is reported."""


class Backend(ABC):
    """One framework. A backend's file defines exactly one subclass, and carries its dependencies in a PEP 723 header.

    ``modes`` and ``devices`` are literals, because they are listed without importing the framework.
    An instance serves one run: ``load`` is called once, then the other methods in any order.
    Work may be asynchronous; only ``synchronize``, ``predict`` and ``parameters`` have to wait for it.
    """

    modes: ClassVar[Mapping[str, str]]
    """Ways in which users of the framework really run it, each with a description of a few words."""

    modes_on_request: ClassVar[tuple[str, ...]] = ()
    """Modes that run only where they are named: another one of the backend's is faster everywhere. A literal."""

    devices: ClassVar[tuple[str, ...]]
    """Kinds of device that the backend can use at all: ``"cpu"``, ``"gpu"``."""

    launcher: ClassVar[tuple[str, ...]] = ()
    """Where each replica of the model is a process: the framework's command that starts ``{replicas}`` of them.

    A literal. ``{python}`` is the interpreter, ``{port}`` a free port; the script and its arguments are added. Each of
    the processes has an instance of the backend, and gets every request. Empty if one process trains all replicas.
    """

    coordinator: ClassVar[str] = ""
    """``NAME=VALUE`` in the environment of the process that a launcher starts besides the replicas to bring them
    together, if it does so; ``coordinate`` is all that this one is asked for. A literal."""

    forkable: ClassVar[bool] = True
    """Whether a process may be forked after the import, before ``load``: lockstep imports a framework once a round and
    forks a process for each run. With False, or if the import leaves threads, each run imports it anew. A literal."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Read versions and the settings in force back from the framework, after ``load`` and at the end of a run.

        Returns plain JSON values, with at least ``versions`` (package name to version), ``device`` (the name of
        the device in use), ``threads`` (compute threads in use, or None if the framework cannot tell) and
        ``precision`` (arithmetic of products, such as "float32" or "tf32"); where the mode can tell, also ``compiled``
        (those of ``PARTS`` that it compiles together, a list, empty in an eager mode); on a GPU also
        ``peak_memory_bytes``, the most that the allocator had handed out at any time, without what it keeps in
        reserve; with several replicas also ``replicas``, how many of them the framework says there are. Where it has
        been tried, also ``flushes_subnormals``: whether training makes 0 of numbers below ``SMALLEST_NORMAL``.
        """

    @abstractmethod
    def load(self, job: Job) -> None:
        """Build the job's model, loss and optimizer on its device, and set exactly its parameters.

        The number of threads is that of the process affinity mask, which OMP_NUM_THREADS repeats.

        Raises Unavailable if the device is not there, if a layer or option is not supported, if ``input`` is
        "loader" and the framework has no pipeline of its own, if it cannot compute in this precision here, or if it
        cannot train so many replicas here.
        """

    @abstractmethod
    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> Any:
        """Move a data set to where ``input`` wants it, device or host memory; return the backend's own handle to it.

        ``features`` are float32 ``[n, *input_shape]``; ``labels`` are int32 ``[n]`` or float32 ``[n, outputs]``.
        The arrays may be memory-mapped and read-only.
        """

    @abstractmethod
    def train(self, data: Any, batches: NDArray[np.int64], rates: NDArray[np.float32] | None = None) -> Any:
        """Take one step per row of ``batches``, in order, and return a handle to the losses.

        ``batches`` are sample indices into ``data``, int64 ``[steps, batch size]``. ``rates`` are the learning rates of
        the steps, float32 ``[steps]``, if the job is ``scheduled``, and left out if it is not: compiled code must not
        be compiled anew for each of them. Nothing has to be finished when this returns.
        """

    @abstractmethod
    def synchronize(self, handle: Any) -> NDArray[np.float32]:
        """Wait until all the work behind the handle is done, parameter updates included.

        Returns the loss of each step before its update, float32 ``[steps]``.
        """

    @abstractmethod
    def predict(self, data: Any) -> NDArray[np.float32]:
        """Return the model's output for every sample of ``data``, float32 ``[n, outputs]``; changes nothing."""

    @abstractmethod
    def parameters(self) -> Parameters:
        """Return the present parameters in canonical layout, float32, as arrays that later training leaves alone."""

    def moments(self) -> tuple[Parameters, Parameters]:
        """Return Adam's moments ``m`` and ``v`` of every parameter that has a gradient, as ``parameters`` does.

        Asked for in the audit after the last epoch, and only if the job's optimizer is Adam.
        """
        raise NotImplementedError(f"write moments: {type(self).__name__} trains with Adam, but does not show its state")

    def coordinate(self) -> None:
        """Bring the replicas together, in the process that ``coordinator`` names; return when they have ended."""
        raise NotImplementedError(f"{type(self).__name__} names a coordinator, but has no method coordinate")


def named_layers(layers: Sequence[Layer], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Return every layer with the name that its parameters begin with, those in residual blocks instead of these."""
    for index, layer in enumerate(layers):
        name = f"{prefix}{index}"
        if isinstance(layer, Residual):
            yield from named_layers(layer.layers, f"{name}.layers.")
            yield from named_layers(layer.shortcut, f"{name}.shortcut.")
        else:
            yield name, layer


def is_learned(parameter: str) -> bool:
    """Whether a parameter of this name has a gradient, as running statistics have not."""
    return not parameter.endswith(STATISTICS)


def model_to_json(model: Model) -> dict[str, Any]:
    """Return the model as plain JSON values; ``model_from_json`` is the inverse."""
    return {"input_shape": list(model.input_shape), "layers": [_layer_to_json(layer) for layer in model.layers]}


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    values = {item.name: getattr(layer, item.name) for item in fields(layer)}
    if isinstance(layer, Residual):
        values = {name: [_layer_to_json(inner) for inner in inside] for name, inside in values.items()}
    return {"layer": next(name for name, kind in LAYERS.items() if type(layer) is kind), **values}


def model_from_json(values: dict[str, Any]) -> Model:
    """Return the model that ``model_to_json`` wrote."""
    return Model(tuple(values["input_shape"]), tuple(map(_layer_from_json, values["layers"])))


def _layer_from_json(entry: dict[str, Any]) -> Layer:
    kind: Any = LAYERS[entry["layer"]]
    arguments = {key: value for key, value in entry.items() if key != "layer"}
    for key, value in arguments.items():
        if isinstance(value, list):  # a pair, or the layers of a block
            arguments[key] = tuple(map(_layer_from_json, value) if kind is Residual else value)
    layer: Layer = kind(**arguments)
    return layer


def job_to_json(job: Job) -> dict[str, Any]:
    """Return the job as plain JSON values, without its parameters; ``job_from_json`` is the inverse."""
    values = {item.name: getattr(job, item.name) for item in fields(Job) if item.name != "parameters"}
    return {**values, "model": model_to_json(job.model), "optimizer": asdict(job.optimizer)}


def job_from_json(values: dict[str, Any], parameters: Parameters) -> Job:
    """Return the job that ``job_to_json`` wrote, with its parameters."""
    model = model_from_json(values["model"])
    optimizer = (Adam if "beta1" in values["optimizer"] else SGD)(**values["optimizer"])
    return Job(**{**values, "model": model, "optimizer": optimizer}, parameters=parameters)
