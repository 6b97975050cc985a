"""What a backend is asked to do: the model, the optimizer, and the methods that every framework's file implements.

This module is imported inside every worker, and by the command line, which starts at once: so it imports nothing but
the standard library, and only names NumPy's types.

Canonical layouts, whatever a framework likes inside:

- images are float32 ``[n, channels, height, width]``; feature vectors are float32 ``[n, features]``;
- class labels are int32 ``[n]``; regression targets are float32 ``[n, outputs]``;
- ``linear`` weights are ``[outputs, inputs]``; ``conv2d`` weights are ``[outputs, inputs, kernel, kernel]``;
- ``flatten`` keeps the order channels, height, width.

The parameters of layer ``i`` of the model (counted from 0, layers without parameters included) are called
``"{i}.weight"`` and ``"{i}.bias"``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Parameters = dict[str, "NDArray[np.float32]"]
Loss = Literal["cross-entropy", "mean-squared-error"]
Input = Literal["resident", "loader"]
Precision = Literal["float32", "tf32"]
Part = Literal["gather", "forward", "loss", "backward", "update", "loop"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What a mode may compile, in the order in which it happens; "loop" is that over the steps of a call."""
SMALLEST_NORMAL = 2.0**-126
"""The smallest normal number of float32: those below are subnormal, and many frameworks make them 0."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
"""Environment variables that tell a process how many threads it is to have."""


@dataclass(frozen=True)
class Flatten:
    """``[n, channels, height, width]`` to ``[n, channels * height * width]``."""


@dataclass(frozen=True)
class Linear:
    """``x @ weight.T + bias``: ``[n, inputs]`` to ``[n, outputs]``."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class Conv2d:
    """Cross-correlation with a square kernel, zero padding on all four sides, and a bias per output channel."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class MaxPool2d:
    """Largest value of each square window; no padding, incomplete windows at the border are dropped.

    Where several elements of a window are the largest, the first of them in row-major order gets all of the gradient.
    """

    kernel: int
    stride: int


@dataclass(frozen=True)
class AvgPool2d:
    """Mean of each square window; no padding, incomplete windows at the border are dropped."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class ReLU:
    """``max(x, 0)``; its derivative at 0 is 0."""


@dataclass(frozen=True)
class Tanh:
    """Hyperbolic tangent."""


Layer = Flatten | Linear | Conv2d | MaxPool2d | AvgPool2d | ReLU | Tanh
LAYERS: dict[str, type[Layer]] = {
    "flatten": Flatten,
    "linear": Linear,
    "conv2d": Conv2d,
    "max_pool2d": MaxPool2d,
    "avg_pool2d": AvgPool2d,
    "relu": ReLU,
    "tanh": Tanh,
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

        g = g + weight_decay * p
        v = momentum * v + g
        p = p - learning_rate * (g + momentum * v if nesterov else v)

    Weight decay applies to every parameter, biases included. There is no dampening.
    """

    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float


@dataclass(frozen=True, eq=False)
class Job:
    """What a backend is asked to train, and how. What is added later is one more field, with a default."""

    model: Model
    loss: Loss
    """The mean over the batch; the mean squared error is the mean over samples and outputs."""
    optimizer: SGD
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
    def train(self, data: Any, batches: NDArray[np.int64]) -> Any:
        """Take one SGD step per row of ``batches``, in order, and return a handle to the losses.

        ``batches`` are sample indices into ``data``, int64 ``[steps, batch size]``. Nothing has to be finished
        when this returns.
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

    def coordinate(self) -> None:
        """Bring the replicas together, in the process that ``coordinator`` names; return when they have ended."""
        raise NotImplementedError(f"{type(self).__name__} names a coordinator, but has no method coordinate")


def model_to_json(model: Model) -> dict[str, Any]:
    """Return the model as plain JSON values; ``model_from_json`` is the inverse."""
    names = {layer: name for name, layer in LAYERS.items()}
    return {
        "input_shape": list(model.input_shape),
        "layers": [{"layer": names[type(layer)], **asdict(layer)} for layer in model.layers],
    }


def model_from_json(values: dict[str, Any]) -> Model:
    """Return the model that ``model_to_json`` wrote."""
    layers = []
    for entry in values["layers"]:
        arguments = {key: value for key, value in entry.items() if key != "layer"}
        layers.append(LAYERS[entry["layer"]](**arguments))
    return Model(tuple(values["input_shape"]), tuple(layers))


def job_to_json(job: Job) -> dict[str, Any]:
    """Return the job as plain JSON values, without its parameters; ``job_from_json`` is the inverse."""
    values = {item.name: getattr(job, item.name) for item in fields(Job) if item.name != "parameters"}
    return {**values, "model": model_to_json(job.model), "optimizer": asdict(job.optimizer)}


def job_from_json(values: dict[str, Any], parameters: Parameters) -> Job:
    """Return the job that ``job_to_json`` wrote, with its parameters."""
    model, optimizer = model_from_json(values["model"]), SGD(**values["optimizer"])
    return Job(**{**values, "model": model, "optimizer": optimizer}, parameters=parameters)
