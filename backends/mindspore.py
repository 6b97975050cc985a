# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mindspore~=2.10.0", "numpy<2", "safetensors"]
# ///
"""MindSpore on the CPU: eager (PyNative) with ``value_and_grad`` and SGD, and the same step compiled."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, communication, nn, ops
from numpy.typing import NDArray

from backends import contract
from backends.contract import PARTS, SMALLEST_NORMAL, Adam, Backend, Job, Layer, Parameters, Unavailable, named_layers

A_DAY = "86400"  # seconds

FEW_PROCESSORS = 2  # not enough for PyNative's pipeline: Python, the pipeline and the kernels need three

CANONICAL = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

PREDICT_ROWS = 1000  # bounds the memory of predict: the activations of a whole test set may be gigabytes


class MindSpore(Backend):
    """MindSpore; a data set is two tensors, or samples for the loader; losses are one tensor or a list of them."""

    modes = {
        "pynative": "eager: value_and_grad and nn.Momentum (nn.SGD with Nesterov; Adam's kernel), one step at a time",
        "graph": "jit: gather, forward, backward and optimizer compiled together, in a compiled loop over the steps",
    }
    devices = ("cpu",)
    launcher = (
        "msrun",
        "--worker_num={replicas}",
        "--local_worker_num={replicas}",
        "--master_port={port}",
        "--join=True",
        "--log_dir=.",
        "--tail_worker_log={replicas}",  # there is no such one: lockstep has a log of its own
    )
    coordinator = "MS_ROLE=MS_SCHED"

    def coordinate(self) -> None:
        """Be the scheduler, which msrun starts from the same script: ``init`` is all that it runs."""
        ms.set_device("CPU")
        _init_communication()

    def describe(self) -> dict[str, Any]:
        """Versions and settings in force."""
        return {
            "versions": {
                "mindspore": ms.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "device": ms.get_context("device_target"),
            "threads": _compute_threads() or None,  # the pool is made with the first work
            "precision": "float32",
            "input": "mindspore.dataset GeneratorDataset" if self.input == "loader" else "resident",
            "replicas": communication.get_group_size() if self.replicas > 1 else 1,
            "onednn_cpu_isa": _onednn_cpu_isa(),
            "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
            "launch_blocking": self.launch_blocking,
            "compiled": self._compiled_parts(),
            "flushes_subnormals": self._flushes_subnormals if self.updates else None,  # compiles: after the work
        }

    @cached_property
    def _flushes_subnormals(self) -> bool:
        """Have the optimizer make a subnormal weight in its second step: in some threads of MindSpore they become 0,
        and the first step of pynative runs in one of those, while later ones do not."""
        smallest = np.full(1, SMALLEST_NORMAL, np.float32)
        weight = ms.Parameter(Tensor(smallest * np.float32(2.5)), name="weight")
        optimizer = nn.Momentum([weight], learning_rate=1.0, momentum=0.0)

        def two_steps(gradient: Any) -> Any:
            i = Tensor(0, ms.int32)
            while i < 2:
                optimizer((gradient,))
                i = i + 1
            return i

        (ms.jit(two_steps) if self.mode == "graph" else two_steps)(Tensor(smallest))
        return not weight.asnumpy().any()

    def _compiled_parts(self) -> list[contract.Part]:
        if self.mode == "pynative":
            return []
        return [part for part in PARTS if part != "gather" or self.input == "resident"]

    def load(self, job: Job) -> None:
        """Build the cells, set their parameters, and prepare the step and the forward pass of the mode."""
        if job.device != "cpu":
            raise Unavailable(
                "the MindSpore package on PyPI computes on CPU and Ascend only: "
                "its GPU plug-ins are for CUDA 11.1 and 11.6"
            )
        if job.precision != "float32":
            raise Unavailable("MindSpore computes in float32 on the CPU")
        self.mode = job.mode
        self.input = job.input
        self.stock = job.stock
        kinds = {type(layer) for _, layer in named_layers(job.model.layers)}
        if job.replicas > 1 and contract.BatchNorm in kinds:
            raise Unavailable("MindSpore's SyncBatchNorm is for Ascend only")
        if not job.stock and contract.Conv2d in kinds:
            # On AVX-512, MindSpore asks oneDNN for layouts that leave every convolution to its reference loops, ten
            # times slower and more. oneDNN reads this at its first use.
            os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
        ms.set_device("CPU")
        self.replicas, self.rank = job.replicas, 0
        if job.replicas > 1:
            self._join()
        # By default the pool has a thread for every CPU of the machine, whatever the affinity mask says.
        pool = processors = len(os.sched_getaffinity(0))
        tuned = job.mode == "pynative" and not job.stock
        self.launch_blocking = tuned and processors <= FEW_PROCESSORS
        if self.launch_blocking:
            # The threads of its pipeline spin while they wait, which takes the processors from the kernels: Python
            # launches these itself then, and waits.
            ms.runtime.launch_blocking()
        elif tuned:
            pool = processors - 2  # Python and its pipeline keep two busy: a larger pool makes small models slower
        with suppress(RuntimeError):  # an instance before this one has set it: a process may do so once
            ms.device_context.cpu.op_tuning.threads_num(pool)

        # SequentialCell names the parameters of layer i "i.weight" and "i.bias": the canonical names.
        self.network = _chain(job.model.layers, images=len(job.model.input_shape) > 1)
        for parameter in self.network.get_parameters():
            owner, _, last = parameter.name.rpartition(".")
            parameter.name = f"{owner}.{CANONICAL.get(last, last)}"
            parameter.set_data(Tensor(np.array(job.parameters[parameter.name])))
        self.network.set_train()
        self.optimizer = _optimizer(self.network.trainable_params(), job.optimizer)
        self.settings, self.scheduled, self.steps = job.optimizer, job.scheduled, 0
        self.loss = _loss(job)
        self.updates: dict[float, Callable[..., Any]] = {}
        self.forward = ms.jit(self.network.construct) if job.mode == "graph" else self.network
        self.loops: dict[tuple[Callable[..., Any], int], Callable[..., Any]] = {}

    def _join(self) -> None:
        """Find the other replicas; raises Unavailable."""
        try:
            _init_communication()
        except RuntimeError as error:
            raise Unavailable(f"mindspore.communication.init(): {str(error).splitlines()[0]}") from None
        self.rank = communication.get_rank()

    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> Any:
        """Return the data set as two tensors, or as samples for the loader."""
        # The arrays may be mapped and read-only: these copies are ours alone.
        features, labels = np.array(features), np.array(labels)
        if self.input == "loader":
            return _Samples(features, labels)
        # A large copy of NumPy's has huge pages, in which gathering is faster; Tensor() would copy it once more.
        return Tensor(features) if self.stock else Tensor.from_numpy(features), Tensor(labels)

    def train(self, data: Any, batches: NDArray[np.int64], rates: NDArray[np.float32] | None = None) -> Any:
        """Return one tensor of losses (graph), or a list of scalar tensors (pynative)."""
        own = np.array_split(batches, self.replicas, axis=1)[self.rank]
        # DistributedGradReducer takes the plain mean of the gradients, and the shares may differ by a sample.
        weight = own.shape[1] * self.replicas / batches.shape[1]
        if weight not in self.updates:
            take = _taking(self.optimizer, self.settings.clip_norm, self.scheduled)
            self.updates[weight] = _update(self.network, self.loss, take, self.replicas, weight)
        update, told = self.updates[weight], self._told(len(batches), rates)
        if self.input == "loader":
            return self._train_loaded(update, _pipeline(data, own), len(own), told)
        features, labels = data
        indices = own.astype(np.int32)
        if self.mode == "graph":
            return self._loop(update, len(indices))(features, labels, Tensor(indices), *map(Tensor, told))
        step = _gathering(update)
        return [step(features, labels, *map(Tensor, row)) for row in zip(indices, *told, strict=True)]

    def _told(self, steps: int, rates: NDArray[np.float32] | None) -> list[NDArray[np.float32]]:
        """What the optimizer is told in each step, ``[steps]`` each: nothing, or the rate, or all that Adam needs."""
        if not isinstance(self.settings, Adam):
            return [] if rates is None else [rates]
        every_rate = np.full(steps, self.settings.learning_rate) if rates is None else rates
        begin, self.steps = self.steps, self.steps + steps
        return _corrected(self.settings, np.arange(begin + 1, self.steps + 1), every_rate)

    def _train_loaded(self, update: Callable[..., Any], pipeline: Any, steps: int, told: list[Any]) -> Any:
        if self.mode == "pynative":
            rows = zip(pipeline.create_tuple_iterator(num_epochs=1), *told, strict=True)
            return [update(*batch, *map(Tensor, of_step)) for batch, *of_step in rows]
        # The compiled loop needs its batches before it begins: the pipeline stacks them to [steps, batch size, ...].
        # A compiled step per batch would do without, but dispatching it takes many times as long as the step.
        ((features, labels),) = pipeline.batch(steps, num_parallel_workers=1).create_tuple_iterator(num_epochs=1)
        indices = Tensor(np.arange(steps, dtype=np.int32))
        return self._loop(update, steps)(features, labels, indices, *map(Tensor, told))

    def _loop(self, update: Callable[..., Any], steps: int) -> Callable[..., Any]:
        if (update, steps) not in self.loops:
            self.loops[update, steps] = _compiled_loop(_gathering(update), steps)
        return self.loops[update, steps]

    def synchronize(self, handle: Any) -> NDArray[np.float32]:
        """Wait by reading every parameter and loss: mindspore.runtime.synchronize returns at once the first time."""
        for parameter in self.network.get_parameters():
            parameter.asnumpy()
        # item() of a scalar takes a fifth of the time of asnumpy(); stacking them first takes longer than either.
        losses = handle.asnumpy() if self.mode == "graph" else np.array([loss.item() for loss in handle], np.float32)
        if self.replicas > 1:
            losses = ops.AllReduce()(Tensor(losses)).asnumpy() / np.float32(self.replicas)
        return np.array(losses)

    def predict(self, data: Any) -> NDArray[np.float32]:
        """Return the logits, computed PREDICT_ROWS samples at a time."""
        features = Tensor(data.features) if self.input == "loader" else data[0]
        parts = [features[start : start + PREDICT_ROWS] for start in range(0, len(features), PREDICT_ROWS)]
        self.network.set_train(False)
        outputs = np.concatenate([self.forward(part).asnumpy() for part in parts])
        self.network.set_train()
        return outputs

    def parameters(self) -> Parameters:
        """Return copies of the parameters."""
        return {parameter.name: np.array(parameter.asnumpy()) for parameter in self.network.get_parameters()}

    def moments(self) -> tuple[Parameters, Parameters]:
        """Return copies of what the optimizer keeps."""
        names = [parameter.name for parameter in self.optimizer.parameters]
        m, v = ([np.array(kept.asnumpy()) for kept in moments] for moments in (self.optimizer.m, self.optimizer.v))
        return dict(zip(names, m, strict=True)), dict(zip(names, v, strict=True))


def _init_communication() -> None:
    """Make the group of all replicas, as msrun has put it into the environment; raises RuntimeError."""
    # A worker that waits for its turn is stopped: after half a minute the scheduler would take it for dead and end all.
    # Without any heartbeat (MS_DISABLE_HEARTBEAT), closing its connection can end init() with a segmentation fault.
    os.environ["MS_NODE_TIMEOUT"] = A_DAY
    os.environ["MS_RECEIVE_MSG_TIMEOUT"] = A_DAY
    communication.init()


class _Residual(nn.Cell):  # type: ignore[misc]
    """``layers(x) + shortcut(x)``; as of SequentialCell, its attributes name the parameters."""

    def __init__(self, block: contract.Residual, images: bool) -> None:
        super().__init__()
        self.layers, self.shortcut = _chain(block.layers, images), _chain(block.shortcut, images)

    def construct(self, x: Any) -> Any:
        return self.layers(x) + self.shortcut(x)


class _Operation(nn.Cell):  # type: ignore[misc]
    """An operation as a layer."""

    def __init__(self, operation: Callable[..., Any], *arguments: Any) -> None:
        super().__init__()
        self.operation, self.arguments = operation, arguments

    def construct(self, x: Any) -> Any:
        return self.operation(x, *self.arguments)


def _chain(layers: tuple[Layer, ...], images: bool) -> Any:
    """The layers one after the other; ``images`` is whether images enter the first, or feature vectors."""
    cells = []
    for layer in layers:
        cells.append(_layer(layer, images))
        inside = [inner for _, inner in named_layers([layer])]
        images &= not any(isinstance(inner, contract.Flatten | contract.GlobalAvgPool2d) for inner in inside)
    return nn.SequentialCell(cells)


def _layer(layer: Layer, images: bool) -> Any:
    match layer:
        case contract.Flatten() | contract.ReLU() | contract.Tanh() | contract.Sigmoid() | contract.SiLU():
            return getattr(nn, type(layer).__name__)()
        case contract.Linear(inputs, outputs, bias):
            return nn.Dense(inputs, outputs, has_bias=bias)
        case contract.Conv2d(inputs, outputs, kernel, stride, (high, wide), groups, bias):
            padding = (high, high, wide, wide)
            return nn.Conv2d(inputs, outputs, kernel, stride, "pad", padding, group=groups, has_bias=bias)
        case contract.MaxPool2d(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, **_padding(padding))
        case contract.AvgPool2d(kernel, stride, padding):
            return nn.AvgPool2d(kernel, stride, **_padding(padding))
        case contract.GlobalAvgPool2d():
            return _Operation(ops.mean, (2, 3))
        case contract.BatchNorm(channels, momentum, epsilon):
            return (nn.BatchNorm2d if images else nn.BatchNorm1d)(channels, epsilon, 1 - momentum)
        case contract.LeakyReLU(slope):
            # The derivative of nn.LeakyReLU at 0 is the mean of 1 and slope (findings/gradients-at-kinks.sh).
            return _Operation(ops.prelu, Tensor([slope], ms.float32))
        case contract.GELU(tanh):
            return nn.GELU(approximate=tanh)
        case contract.Softplus():
            return _Operation(ops.Softplus())  # a single kernel, unlike ops.softplus
        case contract.Residual():
            return _Residual(layer, images)
    raise Unavailable(f"the MindSpore backend has no {type(layer).__name__} layer")


def _padding(padding: contract.Pair) -> dict[str, Any]:
    # With "pad" the pools have other kernels, which take longer.
    return {"pad_mode": "pad", "padding": padding} if any(padding) else {}


def _optimizer(parameters: Any, settings: contract.Optimizer) -> Any:
    if isinstance(settings, Adam):
        return _Adam(parameters, settings)
    # Both leave weight decay off names that contain "gamma" or "beta"; the canonical names never do.
    constants = {"momentum": settings.momentum, "weight_decay": settings.weight_decay}
    if settings.nesterov and settings.momentum > 0:  # with momentum 0 it is void, and nn.SGD refuses it
        return nn.SGD(parameters, settings.learning_rate, nesterov=True, **constants)
    # The kernel of nn.SGD goes through one array more for each parameter; this one ignores use_nesterov on the CPU
    # (findings/mindspore-momentum-without-nesterov.sh).
    return nn.Momentum(parameters, settings.learning_rate, **constants)


class _Adam(nn.Optimizer):  # type: ignore[misc]
    """Adam by a fused kernel that corrects nothing for bias, told ``_corrected`` scalars in each step.

    Of MindSpore's own, nn.Adam corrects epsilon, too (findings/mindspore-adam-corrects-epsilon.sh),
    nn.AdamWeightDecay corrects nothing, and experimental.optim.AdamW takes a kernel for every term.
    """

    def __init__(self, parameters: Any, adam: Adam) -> None:
        super().__init__(adam.learning_rate, parameters, 0.0 if adam.decoupled else adam.weight_decay)
        self.m = self.parameters.clone(prefix="m", init="zeros")
        self.v = self.parameters.clone(prefix="v", init="zeros")
        self.betas = adam.beta1, adam.beta2
        self.kernel = ops.AdamWeightDecay()

    @ms.jit
    def construct(self, gradients: Any, rate: Any, epsilon: Any, decay: Any) -> Any:
        gradients = self.decay_weight(gradients)
        for p, m, v, g in zip(self.parameters, self.m, self.v, gradients):  # noqa: B905 - MindSpore's has no strict
            self.kernel(p, m, v, rate, *self.betas, epsilon, decay, g)
        return rate


def _corrected(adam: Adam, steps: NDArray[np.int64], rates: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Rate, epsilon and decay of these steps, for ``p -= rate * (m / (sqrt(v) + epsilon) + decay * p)``.

    With ``c = 1 - beta^step``, ``m / c1 / (sqrt(v / c2) + epsilon)`` is
    ``sqrt(c2) / c1 * m / (sqrt(v) + epsilon sqrt(c2))``. The betas are float32, as in the kernel.
    """
    c1, c2 = (1 - float(np.float32(beta)) ** steps for beta in (adam.beta1, adam.beta2))
    factor, decay = np.sqrt(c2) / c1, adam.weight_decay if adam.decoupled else 0.0
    return [values.astype(np.float32) for values in (rates * factor, adam.epsilon * np.sqrt(c2), decay / factor)]


def _taking(optimizer: Any, clip_norm: float, scheduled: bool) -> Callable[..., Any]:
    """The optimizer's step on gradients, compiled as MindSpore's optimizers are, in PyNative as well."""
    rated, count = scheduled and not isinstance(optimizer, _Adam), len(optimizer.parameters)
    if not (rated or clip_norm):
        return optimizer

    @ms.jit
    def compiled(*inputs: Any) -> Any:
        gradients, told = inputs[:count], inputs[count:]
        if clip_norm:
            gradients = ops.clip_by_global_norm(gradients, clip_norm)
        if rated:
            ops.assign(optimizer.learning_rate, told[0])
            return optimizer(gradients)
        return optimizer(gradients, *told)

    def take(gradients: Any, *told: Any) -> Any:
        return compiled(*gradients, *told)  # as a tuple they would be a constant, and it compiled anew in every step

    return take


def _loss(job: Job) -> Any:
    if job.loss == "mean-squared-error":
        return nn.MSELoss()
    smoothing = job.label_smoothing
    # As fast as nn.CrossEntropyLoss, and of the two the one that is more exact on the CPU at losses of about 2; with
    # smoothing, twice as fast as well.
    cross_entropy = nn.SoftmaxCrossEntropyWithLogits(sparse=not smoothing, reduction="mean")

    def smoothed(logits: Any, labels: Any) -> Any:
        off = smoothing / logits.shape[1]
        values = Tensor(1 - smoothing + off, ms.float32), Tensor(off, ms.float32)
        return cross_entropy(logits, ops.one_hot(labels, logits.shape[1], *values))

    return smoothed if smoothing else cross_entropy


class _Samples:
    """A data set as GeneratorDataset reads it, sample by sample."""

    def __init__(self, features: NDArray[np.float32], labels: NDArray[Any]) -> None:
        self.features, self.labels = features, labels

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.features[index], self.labels[index]

    def __len__(self) -> int:
        return len(self.features)


def _pipeline(samples: _Samples, batches: NDArray[np.int64]) -> Any:
    """Make the pipeline of these batches; its threads end with the last of them.

    One worker, which is MindSpore's default: reading samples holds Python's lock, and more of them only wait for it.
    A sampler of single samples is refused if it yields more than the data set has: GeneratorDataset counts them.
    """
    return ds.GeneratorDataset(samples, ["features", "labels"], num_parallel_workers=1, batch_sampler=batches.tolist())


def _update(network: Any, loss: Any, take: Callable[..., Any], replicas: int, weight: float) -> Callable[..., Any]:
    """A step on a batch, or on a replica's share of one, whose mean loss counts ``weight`` times."""

    def mean_loss(features: Any, labels: Any) -> Any:
        return loss(network(features), labels)

    def weighted_loss(features: Any, labels: Any) -> Any:
        return loss(network(features), labels) * weight

    parameters = ms.ParameterTuple(network.trainable_params())
    gradient = ms.value_and_grad(mean_loss if weight == 1 else weighted_loss, None, parameters)

    def update(features: Any, labels: Any, *told: Any) -> Any:
        value, gradients = gradient(features, labels)
        take(gradients, *told)
        return value

    if replicas == 1:
        return update
    reducer = nn.DistributedGradReducer(parameters, mean=True, degree=replicas)

    def averaging_update(features: Any, labels: Any, *told: Any) -> Any:
        value, gradients = gradient(features, labels)
        take(reducer(gradients), *told)
        return value

    return averaging_update


def _gathering(update: Callable[..., Any]) -> Callable[..., Any]:
    def step(features: Any, labels: Any, indices: Any, *told: Any) -> Any:
        return update(ops.gather(features, indices, 0), ops.gather(labels, indices, 0), *told)

    return step


def _compiled_loop(step: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """Compile a loop over the rows of ``batches``, which are ``steps``, and anew for every batch size.

    A row is the indices of a batch's samples, or the index of the batch where ``features`` are stacked batches. One
    loop for any number of steps (``enable_dynamic``) would find out the shapes of every step while it runs.
    """
    # As a tensor that goes through the loop beside ``i``, they would cost each step four times as much.
    losses = ms.Parameter(Tensor(np.zeros(steps, np.float32)), name="losses", requires_grad=False)

    @ms.jit
    def loop(features: Any, labels: Any, batches: Any, *told: Any) -> Any:
        i = Tensor(0, ms.int32)
        while i < steps:
            of_step = [ops.gather(values, i, 0) for values in told]
            value = step(features, labels, ops.gather(batches, i, 0), *of_step)
            ops.scatter_update(losses, i, value)
            i = i + 1
        return losses.copy()  # the next call writes into the same memory

    return loop


def _compute_threads() -> int:
    """Count the threads that can run kernels at a time: MindSpore itself can only tell what was asked for.

    The smallest pool that it makes has two, one that dispatches and one that helps; on one processor they are one.
    """
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    pool = sum(name.startswith(("ActorThread_", "KernelThread_")) for name in names)
    return min(pool, len(os.sched_getaffinity(0)))


def _onednn_cpu_isa() -> str:
    """Ask oneDNN itself, which is already loaded, for the instruction set it is using."""
    library = ctypes.CDLL(str(Path(ms.__file__).parent / "lib" / "libdnnl.so.3"))
    isa = int(library.dnnl_get_effective_cpu_isa())
    return {0x1: "SSE41", 0x3: "AVX", 0x7: "AVX2"}.get(isa, "AVX512" if isa & 0x20 else hex(isa))
