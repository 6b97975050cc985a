# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mindspore~=2.10.0", "numpy<2", "safetensors"]
# ///
"""Ways in which experts of MindSpore train small models: lockstep's backend with one thing changed in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, mint, nn, ops
from numpy.typing import NDArray

from backends import contract
from backends.contract import Unavailable
from backends.mindspore import MindSpore, _gathering, _pipeline, _Samples, _update


def _first_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """For what can be called once in a process: here it trains several experiments, and imports this file for each."""
    done = getattr(function, "done", [])

    def call(*arguments: Any) -> None:
        if not done:
            done.append(True)
            function(*arguments)

    call.done = done  # type: ignore[attr-defined]
    return call


tuning = ms.device_context.cpu.op_tuning
tuning.threads_num = _first_only(tuning.threads_num)

TOGETHER = {"jit-5-steps": 5, "jit-10-steps": 10, "jit-50-steps": 50}

JITTED: dict[str, dict[str, Any]] = {
    "jit-step": {},
    "jit-step-trace": {"capture_mode": "trace"},
    "jit-step-bytecode": {"capture_mode": "bytecode"},
    "jit-step-o1": {"jit_level": "O1"},
    "jit-step-cell": {},
}

LOOPS: dict[str, dict[str, Any]] = {
    "loop-o1": {"jit_level": "O1"},
    "loop-o2": {"jit_level": "O2"},
    "loop-gathered": {},
}

SETTINGS: dict[str, Callable[[], Any]] = {
    "loop-affinity": lambda: ms.runtime.set_cpu_affinity(True),
    "loop-2-threads": lambda: ms.device_context.cpu.op_tuning.threads_num(2),
    "loop-runtime-threads": lambda: ms.set_context(runtime_num_threads=1),
    "loop-dispatch-threads": lambda: ms.runtime.dispatch_threads_num(1),
    "loop-launch-group": lambda: ms.runtime.set_kernel_launch_group(thread_num=1, kernel_group_num=1),
    "loop-launch-capture": lambda: ms.runtime.set_kernel_launch_capture(True),
    "loop-graph-mode": lambda: ms.set_context(mode=ms.GRAPH_MODE),
    "loop-blocking": lambda: ms.runtime.launch_blocking(),
    "model-train": lambda: ms.set_context(mode=ms.GRAPH_MODE),
    "model-train-sink": lambda: ms.set_context(mode=ms.GRAPH_MODE),
}


class MindSporeVariants(MindSpore):
    """The backend of MindSpore, with one thing changed."""

    modes = {
        "graph": "a mode of lockstep",
        "pynative": "a mode of lockstep",
        "jit-step": "`jit` per step",
        "jit-step-trace": '`jit(capture_mode="trace")` per step',
        "jit-step-bytecode": '`jit(capture_mode="bytecode")` per step',
        "jit-step-o1": '`jit(jit_level="O1")` per step',
        "jit-step-cell": "`jit` per step of `nn.TrainOneStepCell`",
        "jit-5-steps": "5 steps unrolled in a `jit`",
        "jit-10-steps": "10 steps unrolled in a `jit`",
        "jit-50-steps": "all steps of a call unrolled in a `jit`",
        "loop-o1": 'the compiled loop, `jit_level="O1"`',
        "loop-o2": 'the compiled loop, `jit_level="O2"`',
        "loop-gathered": "the compiled loop, all batches of a call gathered before",
        "loop-fori": "`ops.ForiLoop`",
        "loop-sgd": "the compiled loop with `nn.SGD`",
        "loop-cell": "the compiled loop with `nn.TrainOneStepCell`",
        "loop-cross-entropy": "the compiled loop with `nn.CrossEntropyLoss`",
        "loop-mint": "the compiled loop with layers of `mint`",
        "loop-affinity": "`runtime.set_cpu_affinity(True)`",
        "loop-2-threads": "a pool of 2 threads on the one processor",
        "loop-runtime-threads": "`set_context(runtime_num_threads=1)`",
        "loop-dispatch-threads": "`runtime.dispatch_threads_num(1)`",
        "loop-launch-group": "`runtime.set_kernel_launch_group`",
        "loop-launch-capture": "`runtime.set_kernel_launch_capture`",
        "loop-blocking": "`runtime.launch_blocking`",
        "loop-graph-mode": "`set_context(mode=GRAPH_MODE)`",
        "pynative-async": "PyNative without `launch_blocking`",
        "pynative-cell": "PyNative, `nn.TrainOneStepCell`",
        "pynative-mint": "PyNative, layers of `mint`",
        "model-train": "`Model.train`, `dataset_sink_mode=False`",
        "model-train-sink": "`Model.train`, `dataset_sink_mode=True`",
        "data-sink": "`data_sink` over steps of a call",
    }
    devices = ("cpu",)

    def load(self, job: contract.Job) -> None:
        """Load as the backend does, and then change what the variant is about."""
        self.variant, sgd = job.mode, job.optimizer
        if job.scheduled or not isinstance(sgd, contract.SGD) or sgd.clip_norm or job.label_smoothing:
            raise Unavailable("the variants differ under SGD with a constant rate, no clipping and no smoothing")
        if job.mode in SETTINGS:
            SETTINGS[job.mode]()
        blocking = job.mode in ("pynative", "pynative-cell", "pynative-mint", "data-sink")
        super().load(replace(job, mode="pynative" if blocking else "graph"))
        if job.mode == "pynative-async":
            self.mode = "pynative"
        parameters = self.network.trainable_params()
        if job.mode == "loop-sgd":
            if sgd.nesterov:
                raise Unavailable("with Nesterov it is what lockstep has")
            self.optimizer = nn.SGD(parameters, sgd.learning_rate, sgd.momentum, weight_decay=sgd.weight_decay)
        if job.mode == "loop-cross-entropy":
            if job.loss != "cross-entropy":
                raise Unavailable("no cross-entropy here")
            self.loss = nn.CrossEntropyLoss()
        if job.mode.endswith("mint"):
            self.network = _of_mint(job.model.layers, self.network)
            self.loss = mint.nn.CrossEntropyLoss() if job.loss == "cross-entropy" else mint.nn.MSELoss()
            self.optimizer.parameters = ms.ParameterTuple(self.network.trainable_params())
            raise_without_same_parameters(self.network, parameters)
        self.made: dict[Any, Any] = {}

    def train(self, data: Any, batches: NDArray[np.int64], rates: NDArray[np.float32] | None = None) -> Any:
        """Take the steps in the variant's way, or in the backend's with what was put into its place."""
        rows = batches.astype(np.int32)
        if self.variant in JITTED:
            return [self._once("step", self._jitted_step)(*data, Tensor(row)) for row in rows]
        if self.variant in TOGETHER:
            return self._many_at_once(data, rows)
        if self.variant in LOOPS or self.variant in ("loop-cell", "loop-fori"):
            return self._once(len(rows), lambda: self._own_loop(len(rows)))(*data, Tensor(rows))
        if self.variant.startswith("model-train"):
            return self._model_train(data, batches)
        if self.variant == "data-sink":
            return self._data_sink(data, batches)
        if self.variant == "pynative-cell":
            cell = self._once("cell", self._cell)
            return [cell(ops.gather(data[0], Tensor(row), 0), ops.gather(data[1], Tensor(row), 0)) for row in rows]
        return super().train(data, batches)

    def synchronize(self, handle: Any) -> NDArray[np.float32]:
        """Wait as the backend does, for a list of losses or for a tensor of them."""
        self.mode = "pynative" if isinstance(handle, list) and handle and handle[0].ndim == 0 else "graph"
        if isinstance(handle, list) and self.mode == "graph":
            handle = ops.concat(handle)
        return super().synchronize(handle)

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _cell(self) -> Any:
        return nn.TrainOneStepCell(nn.WithLossCell(self.network, self.loss), self.optimizer).set_train()

    def _plain_step(self) -> Callable[..., Any]:
        if self.variant.endswith("cell"):
            return _gathering(self._cell())
        return _gathering(_update(self.network, self.loss, self.optimizer, 1, 1))

    def _jitted_step(self) -> Callable[..., Any]:
        return ms.jit(self._plain_step(), **JITTED[self.variant])

    def _many_at_once(self, data: Any, rows: NDArray[np.int32]) -> list[Any]:
        together = TOGETHER[self.variant]
        losses = []
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            many = self._once(len(part), lambda: _unrolled(self._plain_step(), len(part)))  # noqa: B023 - called here
            losses.append(many(*data, Tensor(part)))
        return losses

    def _own_loop(self, steps: int) -> Callable[..., Any]:
        options = LOOPS.get(self.variant, {})
        if self.variant == "loop-fori":
            return _fori(self._plain_step(), steps)
        if self.variant == "loop-gathered":
            return _gathered_loop(_update(self.network, self.loss, self.optimizer, 1, 1), steps)
        return _loop(self._plain_step(), steps, options)

    def _model_train(self, data: Any, batches: NDArray[np.int64]) -> Any:
        """``Model.train`` makes a pass over a data set, here the batches of this call."""
        samples = _Samples(data[0].asnumpy(), data[1].asnumpy())
        losses = _Losses(len(batches))
        model = self._once("model", lambda: ms.Model(self.network, self.loss, self.optimizer))
        sink = self.variant.endswith("sink")
        model.train(1, _pipeline(samples, batches), callbacks=[losses], dataset_sink_mode=sink)
        return [Tensor(np.array(loss, np.float32)) for loss in losses.kept]

    def _data_sink(self, data: Any, batches: NDArray[np.int64]) -> Any:
        samples = ds.NumpySlicesDataset([array.asnumpy()[batches.reshape(-1)] for array in data], shuffle=False)
        update = self._once("update", lambda: _update(self.network, self.loss, self.optimizer, 1, 1))
        sink = ms.data_sink(update, samples.batch(batches.shape[1]), sink_size=1, jit_config=ms.JitConfig("O0"))
        return [sink() for _ in batches]


class _Losses(ms.Callback):
    """Keeps the loss of every step that it is told of."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.kept: list[float] = []

    def on_train_step_end(self, run_context: Any) -> None:
        self.kept.append(float(run_context.original_args().net_outputs.asnumpy()))


def _unrolled(step: Callable[..., Any], steps: int) -> Callable[..., Any]:
    @ms.jit
    def many(features: Any, labels: Any, batches: Any) -> Any:
        losses = []
        for i in range(steps):
            losses.append(step(features, labels, batches[i]))
        return ops.stack(losses)

    return many


def _loop(step: Callable[..., Any], steps: int, options: dict[str, Any]) -> Callable[..., Any]:
    losses = ms.Parameter(Tensor(np.zeros(steps, np.float32)), name="losses", requires_grad=False)

    def loop(features: Any, labels: Any, batches: Any) -> Any:
        i = Tensor(0, ms.int32)
        while i < steps:
            ops.scatter_update(losses, i, step(features, labels, ops.gather(batches, i, 0)))
            i = i + 1
        return losses.copy()

    return ms.jit(loop, **options)


def _gathered_loop(update: Callable[..., Any], steps: int) -> Callable[..., Any]:
    losses = ms.Parameter(Tensor(np.zeros(steps, np.float32)), name="losses", requires_grad=False)

    @ms.jit
    def loop(features: Any, labels: Any, batches: Any) -> Any:
        all_features, all_labels = ops.gather(features, batches, 0), ops.gather(labels, batches, 0)
        i = Tensor(0, ms.int32)
        while i < steps:
            value = update(ops.gather(all_features, i, 0), ops.gather(all_labels, i, 0))
            ops.scatter_update(losses, i, value)
            i = i + 1
        return losses.copy()

    return loop


def _fori(step: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """The losses are carried; the parameters are updated by a side effect, which its documentation excludes."""

    @ms.jit
    def loop(features: Any, labels: Any, batches: Any) -> Any:
        def body(i: Any, losses: Any) -> Any:
            losses[i] = step(features, labels, batches[i])
            return losses

        return ops.ForiLoop()(0, steps, body, ops.zeros(steps, ms.float32))

    return loop


def _of_mint(layers: tuple[contract.Layer, ...], network: Any) -> Any:
    """The same network of mint's layers, with the very parameters."""
    return nn.SequentialCell(*[_mint_layer(layer, cell) for layer, cell in zip(layers, network, strict=True)])


def _mint_layer(layer: contract.Layer, cell: Any) -> Any:
    made: Any = None
    match layer:
        case contract.Flatten():
            return mint.nn.Flatten()
        case contract.ReLU():
            return mint.nn.ReLU()
        case contract.MaxPool2d(kernel, stride, padding):
            return mint.nn.MaxPool2d(kernel, stride, padding)
        case contract.AvgPool2d(kernel, stride, padding):
            return mint.nn.AvgPool2d(kernel, stride, padding)
        case contract.Linear(inputs, outputs, bias):
            made = mint.nn.Linear(inputs, outputs, bias)
        case contract.Conv2d(inputs, outputs, kernel, stride, padding, groups, bias):
            made = mint.nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
        case _:
            raise Unavailable(f"no {type(layer).__name__} of mint here")
    made.weight, made.bias = cell.weight, cell.bias
    return made


def raise_without_same_parameters(network: Any, parameters: Any) -> None:
    """Make sure that the optimizer updates what the network uses."""
    if [id(parameter) for parameter in network.trainable_params()] != [id(parameter) for parameter in parameters]:
        raise RuntimeError("mint's layers have not taken the parameters")
