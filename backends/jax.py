# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["jax~=0.10.2", "flax~=0.12.8", "optax~=0.2.8", "grain~=0.2.18", "numpy>=2", "safetensors>=0.5"]
#
# [tool.lockstep]
# gpu-dependencies = ["jax[cuda13]~=0.10.2"]
# ///
"""JAX with flax.linen and optax: one jitted step at a time, or one scan over all the steps that are asked for."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from numpy.typing import NDArray

from backends import contract
from backends.contract import Backend, Unavailable

LOSSES = 64
"""Steps of a call, up to which all calls share one compiled step."""

ALIGNMENT = 64
"""Bytes: JAX on the CPU uses arrays of NumPy that lie so as they are, and copies others."""


class Jax(Backend):
    """Data in JAX's own NHWC layout, on the device or in host memory; weights and state are donated to each step.

    JAX has no loader of its own. Of those that its tutorials show, grain is the one that is made for JAX and that
    brings no other framework with it.
    """

    modes = {
        "jit": "one jitted step per batch",
        "scan": "one jitted lax.scan over many steps",
    }
    devices = ("cpu", "gpu")

    def load(self, job: contract.Job) -> None:
        """Build the jitted functions and put parameters and optimizer state on the device."""
        # Read when the GPU client is created. Preallocation would take most of the memory whatever the model needs.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if job.device == "cpu" and job.precision == "tf32":
            raise Unavailable("JAX has TF32 on GPUs only")
        # On a GPU, the default would be TF32.
        jax.config.update("jax_default_matmul_precision", "highest" if job.precision == "float32" else "tensorfloat32")
        _keep_compiled()
        replicas = job.replicas
        if replicas > 1 and jax.config.jax_num_cpu_devices != replicas:
            jax.config.update("jax_num_cpu_devices", replicas)  # of the client, which is made with the first of them
        try:
            devices = jax.devices(job.device)[:replicas]
        except RuntimeError as error:
            raise Unavailable(f"jax.devices({job.device!r}): {str(error).splitlines()[0]}") from None
        if len(devices) < replicas:
            raise Unavailable(f"len(jax.devices({job.device!r})) is {len(devices)}: {replicas} replicas want as many")
        self.device = devices[0]
        jax.config.update("jax_default_device", self.device)
        self._place(devices)
        self.waits = job.replicas > 1 and job.device == "cpu"
        if job.input == "loader":
            self.grain = _import_grain()
        self.mode = job.mode
        self.input = job.input
        self.stock = job.stock
        self.layers = job.model.layers
        self.channels, self.flattened = _channels(job.model), _first_linear(job.model)
        flatten = _flatten if self.flattened is not None else _flatten_in_order
        self.network = nn.Sequential([_layer(index, layer, flatten) for index, layer in enumerate(job.model.layers)])
        self.optimizer = _optimizer(job.optimizer)
        self.weights = jax.device_put(self._to_flax(job.parameters), self.everywhere)
        self.state = self.optimizer.init(self.weights)
        self.logits = jax.jit(lambda weights, features: self.network.apply({"params": weights}, features))
        update = self._update(_cross_entropy if job.loss == "cross-entropy" else _mean_squared_error)
        step = update if job.input == "loader" else _gathering(update)
        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.keeping_step = jax.jit(_keeping(step), donate_argnums=(0, 1, 2))
        self.scan = jax.jit(_scan(step), donate_argnums=(0, 1))
        self.zeros = jax.jit(jnp.zeros, static_argnums=0, out_shardings=self.everywhere)
        self.stack = jax.jit(jnp.stack)

    def _place(self, devices: Sequence[jax.Device]) -> None:
        """Say where everything is: on one device, or on a mesh whose devices have a part of the batch each.

        XLA finds out from that where gradients have to be summed; it pads parts of different sizes, and masks the rest.
        """
        self.everywhere: Any = SingleDeviceSharding(devices[0])
        self.split: Callable[[Any], Any] = lambda batch: batch
        if len(devices) > 1:
            mesh = Mesh(np.array(devices), ("replicas",))
            parts = NamedSharding(mesh, PartitionSpec("replicas"))
            self.everywhere = NamedSharding(mesh, PartitionSpec())
            self.split = lambda batch: jax.lax.with_sharding_constraint(batch, parts)

    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> tuple[Any, Any]:
        """Copy the arrays to the device, or within the host for the loader; images as NHWC."""
        if features.ndim == 4:
            features = features.transpose(0, 2, 3, 1)
        # Copies of our own: on the CPU, JAX may go on reading the array that it is given, here a file that is mapped.
        features, labels = np.array(features, order="C") if self.stock else _aligned(features), np.array(labels)
        if self.input == "loader":
            return features, labels
        return jax.device_put(features, self.everywhere), jax.device_put(labels, self.everywhere)

    def train(self, data: tuple[Any, Any], batches: NDArray[np.int64]) -> Any:
        """Dispatch the steps; return the losses, which stay on the device as one array, and their number."""
        # A step takes the data set and a row of indices, or a batch that was loaded.
        resident, rows = (
            ((), self._loaded(*data, batches)) if self.input == "loader" else (data, batches.astype(np.int32))
        )
        if self.mode == "scan":
            self.weights, self.state, losses = self.scan(self.weights, self.state, *resident, rows)
            self._wait()
        elif self.device.platform == "cpu":
            losses = self.zeros(_room(len(batches)))
            for batch in rows:
                self.weights, self.state, losses = self.keeping_step(self.weights, self.state, losses, *resident, batch)
                self._wait()
        else:
            every_loss = []
            for batch in rows:
                self.weights, self.state, loss = self.step(self.weights, self.state, *resident, batch)
                every_loss.append(loss)
            losses = self.stack(every_loss)  # one transfer instead of one for each step
        return losses, len(batches)

    def _wait(self) -> None:
        """Have no more than one program under way, where the replicas are devices of the CPU.

        They wait for each other in threads of one pool. With several programs under way, so many may wait that none is
        left for the work that they wait for: XLA gives up after 40 s.
        """
        if self.waits:
            jax.block_until_ready(self.weights)

    def _loaded(self, features: NDArray[np.float32], labels: NDArray[Any], batches: NDArray[np.int64]) -> Any:
        """Have grain make the batches, one (features, labels) after the other.

        A scan needs them as arrays before it begins: grain stacks them, as users do who take many steps per dispatch.
        """
        steps, size = batches.shape
        samples = self.grain.MapDataset.source(batches.reshape(-1)).map(lambda index: (features[index], labels[index]))
        if self.mode == "scan":
            return samples.batch(size).batch(steps)[0]
        # No threads, as grain advises for samples that are in memory: they would wait for Python's lock.
        return samples.batch(size).to_iter_dataset(self.grain.ReadOptions(num_threads=0))

    def synchronize(self, handle: Any) -> NDArray[np.float32]:
        """Block until parameters, optimizer state and losses are there."""
        losses, steps = handle
        jax.block_until_ready((self.weights, self.state, losses))
        return np.asarray(losses)[-steps:]

    def predict(self, data: tuple[Any, Any]) -> NDArray[np.float32]:
        """Run the jitted model, on one of the replicas."""
        weights, features = jax.tree.map(_on_first_device, (self.weights, data[0]))
        return np.asarray(self.logits(weights, features))

    def parameters(self) -> contract.Parameters:
        """Copy the parameters to the host in canonical layout."""
        canonical: contract.Parameters = {}
        for index, layer in enumerate(self.layers):
            if isinstance(layer, contract.Linear | contract.Conv2d):
                weights = self.weights[f"layers_{index}"]
                kernel = np.asarray(weights["kernel"])
                if index == self.flattened:
                    kernel = _swap_rows(kernel, len(kernel) // self.channels)
                canonical[f"{index}.weight"] = np.array(kernel.transpose(_to_canonical(layer)), order="C")
                canonical[f"{index}.bias"] = np.array(weights["bias"])
        return canonical

    def describe(self) -> dict[str, Any]:
        """Versions and settings in force."""
        return {
            "versions": {
                "jax": jax.__version__,
                "jaxlib": jaxlib.__version__,
                "flax": flax.__version__,
                "optax": optax.__version__,
                **({"grain": self.grain.__version__} if self.input == "loader" else {}),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "device": self.device.device_kind,
            "replicas": len(jax.tree.leaves(self.weights)[0].sharding.device_set),
            # XLA's CPU client takes one thread per processor of the affinity mask and cannot be asked.
            "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "peak_memory_bytes": (self.device.memory_stats() or {}).get("peak_bytes_in_use"),
            "compiled": self._compiled_parts(),
            "input": "grain MapDataset" if self.input == "loader" else "resident",
            "precision": {"highest": "float32", "tensorfloat32": "tf32"}[jax.config.jax_default_matmul_precision],
            "flushes_subnormals": self._flushes_subnormals,
        }

    @cached_property
    def _flushes_subnormals(self) -> bool:
        smallest = np.float32(contract.SMALLEST_NORMAL)
        return not jax.jit(jnp.subtract)(smallest * np.float32(1.5), smallest)

    def _compiled_parts(self) -> list[contract.Part]:
        left_out = {"gather": self.input == "loader", "loop": self.mode == "jit"}
        return [part for part in contract.PARTS if not left_out.get(part)]

    def _to_flax(self, parameters: contract.Parameters) -> dict[str, dict[str, NDArray[np.float32]]]:
        weights = {}
        for index, layer in enumerate(self.layers):
            if isinstance(layer, contract.Linear | contract.Conv2d):
                to_flax = np.argsort(_to_canonical(layer))
                kernel = parameters[f"{index}.weight"].transpose(to_flax)
                if index == self.flattened:
                    kernel = _swap_rows(kernel, self.channels)
                weights[f"layers_{index}"] = {
                    "kernel": np.ascontiguousarray(kernel),
                    "bias": parameters[f"{index}.bias"],
                }
        return weights

    def _update(self, loss_function: Callable[..., jax.Array]) -> Callable[..., tuple[Any, Any, jax.Array]]:
        def mean_loss(weights: Any, features: jax.Array, labels: jax.Array) -> jax.Array:
            return loss_function(self.network.apply({"params": weights}, features), labels)

        def update(weights: Any, state: Any, batch: tuple[jax.Array, jax.Array]) -> Any:
            loss, gradients = jax.value_and_grad(mean_loss)(weights, *self.split(batch))
            updates, state = self.optimizer.update(gradients, state, weights)
            return optax.apply_updates(weights, updates), state, loss

        return update


def _import_grain() -> Any:
    """Import grain only where it is used: the start-up of resident training does not wait for it."""
    try:
        import grain
    except ImportError as error:
        raise Unavailable(f'input = "loader" needs grain in the environment of JAX: {error}') from None
    return grain


def _aligned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Copy to where JAX uses it as it is: a large copy of NumPy's has huge pages, in which gathering is faster."""
    room = np.empty(values.nbytes + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    copy = room[begin : begin + values.nbytes].view(np.float32).reshape(values.shape)
    copy[...] = values
    return copy


def _on_first_device(values: Any) -> Any:
    """The copy of an array that is on the first of its devices; an array of NumPy as it is."""
    return values.addressable_data(0) if isinstance(values, jax.Array) else values


def _gathering(update: Callable[..., Any]) -> Callable[..., Any]:
    def step(weights: Any, state: Any, features: jax.Array, labels: jax.Array, batch: jax.Array) -> Any:
        return update(weights, state, (features[batch], labels[batch]))

    return step


def _keeping(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that shifts its loss into a donated array: on the CPU, an array for each loss would lie between the memory
    of a step and that of the next, which then is not the same. On a GPU this would be one more kernel in each step."""

    def keeping_step(weights: Any, state: Any, losses: jax.Array, *inputs: Any) -> Any:
        weights, state, loss = step(weights, state, *inputs)
        return weights, state, jnp.append(losses[1:], loss)

    return keeping_step


def _room(steps: int) -> int:
    """How many losses the array has that goes through the steps: few sizes, as each of them is compiled anew."""
    return max(LOSSES, 1 << (steps - 1).bit_length())


def _keep_compiled() -> None:
    """Keep what XLA compiles, however quick that was, for later processes: beside the temporary files."""
    jax.config.update("jax_compilation_cache_dir", f"{tempfile.gettempdir()}/jax-cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _scan(step: Callable[..., Any]) -> Callable[..., Any]:
    def scan(weights: Any, state: Any, *inputs: Any) -> Any:
        *data, batches = inputs

        def body(carry: Any, batch: Any) -> Any:
            weights, state, loss = step(*carry, *data, batch)
            return (weights, state), loss

        (weights, state), losses = jax.lax.scan(body, (weights, state), batches)
        return weights, state, losses

    return scan


def _optimizer(sgd: contract.SGD) -> optax.GradientTransformation:
    # Weight decay goes first: after the momentum it would be another algorithm (decoupled weight decay).
    momentum = optax.sgd(sgd.learning_rate, sgd.momentum or None, sgd.nesterov)
    return optax.chain(optax.add_decayed_weights(sgd.weight_decay), momentum) if sgd.weight_decay else momentum


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _mean_squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.squared_error(outputs, targets).mean()


def _to_canonical(layer: contract.Layer) -> tuple[int, ...]:
    """Axes that turn flax's kernel (inputs, outputs or height, width, inputs, outputs) into the canonical one."""
    return (1, 0) if isinstance(layer, contract.Linear) else (3, 2, 0, 1)


def _channels(model: contract.Model) -> int:
    """Channels of the images that are flattened, or 1 where there are no images."""
    if len(model.input_shape) == 1:
        return 1
    return [model.input_shape[0], *(layer.outputs for layer in model.layers if isinstance(layer, contract.Conv2d))][-1]


def _first_linear(model: contract.Model) -> int | None:
    """The layer that gets what was flattened."""
    return next((index for index, layer in enumerate(model.layers) if isinstance(layer, contract.Linear)), None)


def _swap_rows(kernel: NDArray[np.float32], outer: int) -> NDArray[np.float32]:
    """Reorder the rows of a kernel, of which ``outer`` groups follow one another, so that these are the inner ones.

    Rows are in the order channels, pixels in canonical layout, and pixels, channels as flattened here.
    """
    return kernel.reshape(outer, -1, kernel.shape[1]).swapaxes(0, 1).reshape(kernel.shape)


def _flatten(images: jax.Array) -> jax.Array:
    """Flatten as the images lie here, channels last: the kernel of the first linear layer has its rows like that."""
    return images.reshape(images.shape[0], -1)


def _flatten_in_order(images: jax.Array) -> jax.Array:
    """Flatten in canonical order, where there is no linear layer to follow."""
    return _flatten(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images)


def _layer(
    index: int, layer: contract.Layer, flatten: Callable[[jax.Array], jax.Array]
) -> Callable[[jax.Array], jax.Array]:
    name = f"layers_{index}"
    match layer:
        case contract.Flatten():
            return flatten
        case contract.Linear(_, outputs):
            return nn.Dense(outputs, name=name)
        case contract.Conv2d(_, outputs, kernel, stride, padding):
            return nn.Conv(outputs, (kernel, kernel), strides=stride, padding=padding, name=name)
        case contract.MaxPool2d(kernel, stride):
            return lambda x: nn.max_pool(x, (kernel, kernel), (stride, stride))
        case contract.AvgPool2d(kernel, stride):
            return lambda x: nn.avg_pool(x, (kernel, kernel), (stride, stride))
        case contract.ReLU():
            return nn.relu
        case contract.Tanh():
            return nn.tanh
    raise Unavailable(f"no such layer in this backend: {layer}")
