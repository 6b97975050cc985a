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
from functools import cached_property, partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from numpy.typing import NDArray

from backends import contract
from backends.contract import Backend, Unavailable

LOSSES = 64
"""Steps of a call, up to which all calls share one compiled step."""

ALIGNMENT = 64
"""Bytes: JAX on the CPU uses arrays of NumPy that lie so as they are, and copies others."""

TO_FLAX = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
"""By the number of its axes, what turns a canonical array into flax's: (height, width,) inputs, outputs."""

ACTIVATIONS: dict[type[contract.Layer], Callable[[jax.Array], jax.Array]] = {
    contract.ReLU: nn.relu,
    contract.Tanh: nn.tanh,
    contract.Sigmoid: nn.sigmoid,
    contract.SiLU: nn.silu,
    contract.Softplus: nn.softplus,
}
"""Those without options: flax has them with the contract's meaning."""


class Jax(Backend):
    """Data in JAX's own NHWC layout, on the device or in host memory; variables and state are donated to each step.

    Variables are, as flax calls them, what a model learns and the running statistics of batch normalization.

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
        self.names = {_path(name, values.ndim): name for name, values in job.parameters.items()}
        self.reordered = _after_flatten(job.model.layers, job.model.input_shape[0])
        self.network = _chain(job.model.layers, training=True)
        self.optimizer: Callable[..., optax.GradientTransformation] = partial(_optimizer, job.optimizer)
        self.variables = jax.device_put(self._to_flax(job.parameters), self.everywhere)
        self.state = jax.device_put(self.optimizer().init(self.variables["params"]), self.everywhere)
        self.logits = jax.jit(_chain(job.model.layers, training=False).apply)
        self._jit(self._update(_loss(job)))

    def _jit(self, update: Callable[..., Any]) -> None:
        step = update if self.input == "loader" else _gathering(update)
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

    def train(self, data: tuple[Any, Any], batches: NDArray[np.int64], rates: NDArray[np.float32] | None = None) -> Any:
        """Dispatch the steps; return the losses, which stay on the device as one array, and their number."""
        # A step takes the data set and a row of indices, or a batch that was loaded, and then a rate if it has its own.
        resident, rows = (
            ((), self._loaded(*data, batches)) if self.input == "loader" else (data, batches.astype(np.int32))
        )
        inputs = (rows,) if rates is None else (rows, rates)
        if self.mode == "scan":
            self.variables, self.state, losses = self.scan(self.variables, self.state, resident, inputs)
            self._wait()
        elif self.device.platform == "cpu":
            losses = self.zeros(_room(len(batches)))
            for row in zip(*inputs, strict=True):
                self.variables, self.state, losses = self.keeping_step(
                    self.variables, self.state, losses, *resident, *row
                )
                self._wait()
        else:
            every_loss = []
            for row in zip(*inputs, strict=True):
                self.variables, self.state, loss = self.step(self.variables, self.state, *resident, *row)
                every_loss.append(loss)
            losses = self.stack(every_loss)  # one transfer instead of one for each step
        return losses, len(batches)

    def _wait(self) -> None:
        """Have no more than one program under way, where the replicas are devices of the CPU.

        They wait for each other in threads of one pool. With several programs under way, so many may wait that none is
        left for the work that they wait for: XLA gives up after 40 s.
        """
        if self.waits:
            jax.block_until_ready(self.variables)

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
        jax.block_until_ready((self.variables, self.state, losses))
        return np.asarray(losses)[-steps:]

    def predict(self, data: tuple[Any, Any]) -> NDArray[np.float32]:
        """Run the jitted model, on one of the replicas."""
        variables, features = jax.tree.map(_on_first_device, (self.variables, data[0]))
        return np.asarray(self.logits(variables, features))

    def parameters(self) -> contract.Parameters:
        """Copy the parameters to the host in canonical layout."""
        return self._to_canonical(self.variables)

    def moments(self) -> tuple[contract.Parameters, contract.Parameters]:
        """Copy Adam's moments, which optax calls mu and nu, to the host in canonical layout."""
        mu, nu = (self._to_canonical({"params": optax.tree.get(self.state, name)}) for name in ("mu", "nu"))
        return mu, nu

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
            "replicas": len(jax.tree.leaves(self.variables)[0].sharding.device_set),
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

    def _to_flax(self, parameters: contract.Parameters) -> dict[str, Any]:
        variables = {}
        for path, name in self.names.items():
            values = parameters[name].transpose(TO_FLAX[parameters[name].ndim])
            if name in self.reordered:
                values = _swap_rows(values, self.reordered[name])
            variables[path] = np.ascontiguousarray(values)
        return unflatten_dict(variables)

    def _to_canonical(self, variables: dict[str, Any]) -> contract.Parameters:
        """Copy flax's variables, or what an optimizer keeps for each of those that are learned."""
        canonical = {}
        for path, array in flatten_dict(variables).items():
            name, values = self.names[path], np.asarray(array)
            if name in self.reordered:
                values = _swap_rows(values, len(values) // self.reordered[name])
            canonical[name] = np.array(values.transpose(np.argsort(TO_FLAX[values.ndim])), order="C")
        return canonical

    def _update(self, loss_function: Callable[..., jax.Array]) -> Callable[..., tuple[Any, Any, jax.Array]]:
        def mean_loss(weights: Any, variables: Any, features: jax.Array, labels: jax.Array) -> Any:
            outputs, moved = self.network.apply({**variables, "params": weights}, features, mutable="batch_stats")
            return loss_function(outputs, labels), moved

        def update(variables: Any, state: Any, batch: tuple[jax.Array, jax.Array], *rate: jax.Array) -> Any:
            weights = variables["params"]
            gradient = jax.value_and_grad(mean_loss, has_aux=True)
            (loss, moved), gradients = gradient(weights, variables, *self.split(batch))
            updates, state = self.optimizer(*rate).update(gradients, state, weights)
            return {**moved, "params": optax.apply_updates(weights, updates)}, state, loss

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
    def step(variables: Any, state: Any, features: Any, labels: Any, batch: jax.Array, *rate: jax.Array) -> Any:
        return update(variables, state, (features[batch], labels[batch]), *rate)

    return step


def _keeping(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that shifts its loss into a donated array: on the CPU, an array for each loss would lie between the memory
    of a step and that of the next, which then is not the same. On a GPU this would be one more kernel in each step."""

    def keeping_step(variables: Any, state: Any, losses: jax.Array, *inputs: Any) -> Any:
        variables, state, loss = step(variables, state, *inputs)
        return variables, state, jnp.append(losses[1:], loss)

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
    def scan(variables: Any, state: Any, resident: tuple[Any, ...], inputs: tuple[Any, ...]) -> Any:
        def body(carry: Any, row: Any) -> Any:
            variables, state, loss = step(*carry, *resident, *row)
            return (variables, state), loss

        (variables, state), losses = jax.lax.scan(body, (variables, state), inputs)
        return variables, state, losses

    return scan


def _optimizer(optimizer: contract.Optimizer, *rates: jax.Array) -> optax.GradientTransformation:
    """The optimizer, with a rate that is traced if one is given: another one compiles nothing anew."""
    (rate,) = rates or (optimizer.learning_rate,)
    parts = [optax.clip_by_global_norm(optimizer.clip_norm)] if optimizer.clip_norm else []
    if isinstance(optimizer, contract.Adam) and optimizer.decoupled:
        betas = optimizer.beta1, optimizer.beta2
        return optax.chain(*parts, optax.adamw(rate, *betas, optimizer.epsilon, weight_decay=optimizer.weight_decay))
    # Weight decay goes first: after the moments it would be another algorithm (decoupled weight decay).
    parts += [optax.add_decayed_weights(optimizer.weight_decay)] if optimizer.weight_decay else []
    if isinstance(optimizer, contract.Adam):
        return optax.chain(*parts, optax.adam(rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon))
    return optax.chain(*parts, optax.sgd(rate, optimizer.momentum or None, optimizer.nesterov))


def _loss(job: contract.Job) -> Callable[..., jax.Array]:
    if job.loss == "mean-squared-error":
        return lambda outputs, targets: optax.squared_error(outputs, targets).mean()
    if not job.label_smoothing:
        return lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def smoothed(logits: jax.Array, labels: jax.Array) -> jax.Array:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[1]), job.label_smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean()

    return smoothed


def _path(name: str, dimensions: int) -> tuple[str, ...]:
    """Where flax has a parameter: "1.shortcut.0.weight" is params/layers_1/shortcut/layers_0/kernel."""
    *places, part = name.split(".")
    collection = "params" if contract.is_learned(name) else "batch_stats"
    weight = "scale" if dimensions == 1 else "kernel"
    own = {"weight": weight, "bias": "bias", "running_mean": "mean", "running_var": "var"}[part]
    return (collection, *(f"layers_{place}" if place.isdecimal() else place for place in places), own)


def _after_flatten(layers: Sequence[contract.Layer], channels: int, prefix: str = "") -> dict[str, int]:
    """Kernels of the linear layers that images are flattened for, with how many channels these images have.

    Features may count as so many channels of one pixel: their order stays as it is.
    """
    found: dict[str, int] = {}
    for index, layer in enumerate(layers):
        if isinstance(layer, contract.Residual):
            for branch in ("layers", "shortcut"):
                found |= _after_flatten(getattr(layer, branch), channels, f"{prefix}{index}.{branch}.")
        elif _is_before_linear(layers, index):
            found[f"{prefix}{index + 1}.weight"] = channels
        channels = _channels([layer], channels)
    return found


def _is_before_linear(layers: Sequence[contract.Layer], index: int) -> bool:
    return [type(layer) for layer in layers[index : index + 2]] == [contract.Flatten, contract.Linear]


def _channels(layers: Sequence[contract.Layer], channels: int) -> int:
    """Channels of what comes out of these layers; 1 if images were flattened."""
    for layer in layers:
        match layer:
            case contract.Conv2d() | contract.Linear():
                channels = layer.outputs
            case contract.Flatten():
                channels = 1
            case contract.Residual():
                channels = _channels(layer.layers, channels)
    return channels


def _swap_rows(kernel: NDArray[np.float32], outer: int) -> NDArray[np.float32]:
    """Reorder the rows of a kernel, of which ``outer`` groups follow one another, so that these are the inner ones.

    Rows are in the order channels, pixels in canonical layout, and pixels, channels as flattened here.
    """
    return kernel.reshape(outer, -1, kernel.shape[1]).swapaxes(0, 1).reshape(kernel.shape)


def _flatten(images: jax.Array) -> jax.Array:
    """Flatten as the images lie here, channels last: the kernel of the linear layer has its rows like that."""
    return images.reshape(images.shape[0], -1)


def _flatten_in_order(images: jax.Array) -> jax.Array:
    """Flatten in canonical order, where another layer than a linear one follows, or none."""
    return _flatten(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images)


class Residual(nn.Module):  # type: ignore[misc] # flax is not there where types are checked
    """The sum of what two chains of layers give."""

    layers: Callable[[jax.Array], jax.Array]
    shortcut: Callable[[jax.Array], jax.Array]

    def __call__(self, images: jax.Array) -> jax.Array:
        """Add them."""
        return self.layers(images) + self.shortcut(images)


class BatchNorm(nn.BatchNorm):  # type: ignore[misc] # the same
    """Flax's, whose running variance is moved by the biased variance of the batch, and by the unbiased one here."""

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scale what flax has added to the running variance; its momentum is the share of the old one that is kept."""
        kept = self.momentum * self.get_variable("batch_stats", "var")
        outputs = super().__call__(images)
        if not self.use_running_average:
            number = images.size // images.shape[-1]
            added = self.get_variable("batch_stats", "var") - kept
            self.put_variable("batch_stats", "var", kept + added * (number / max(number - 1, 1)))
        return outputs


def _chain(layers: Sequence[contract.Layer], training: bool) -> Any:
    """The layers one after the other; none at all are the identity."""
    if not layers:
        return lambda images: images
    return nn.Sequential(
        [
            _flatten if _is_before_linear(layers, index) else _layer(f"layers_{index}", layer, training)
            for index, layer in enumerate(layers)
        ]
    )


def _layer(name: str, layer: contract.Layer, training: bool) -> Callable[[jax.Array], jax.Array]:
    match layer:
        case contract.Flatten():
            return _flatten_in_order
        case contract.Linear(_, outputs, bias):
            return nn.Dense(outputs, bias, name=name)
        case contract.Conv2d(_, outputs, kernel, stride, padding, groups, bias):
            sides = _both_sides(padding)
            return nn.Conv(outputs, kernel, stride, sides, feature_group_count=groups, use_bias=bias, name=name)
        case contract.MaxPool2d(kernel, stride, padding):
            return partial(nn.max_pool, window_shape=kernel, strides=stride, padding=_both_sides(padding))
        case contract.AvgPool2d(kernel, stride, padding):
            return partial(nn.avg_pool, window_shape=kernel, strides=stride, padding=_both_sides(padding))
        case contract.GlobalAvgPool2d():
            return partial(jnp.mean, axis=(1, 2))
        case contract.BatchNorm(_, momentum, epsilon):
            return BatchNorm(not training, momentum=1 - momentum, epsilon=epsilon, name=name)
        case contract.LeakyReLU(slope):
            return lambda x: jnp.where(x > 0, x, slope * x)  # nn.leaky_relu has the derivative 1 at 0
        case contract.GELU(tanh):
            return partial(nn.gelu, approximate=tanh)
        case contract.Residual(layers, shortcut):
            return Residual(_chain(layers, training), _chain(shortcut, training), name=name)
    if type(layer) in ACTIVATIONS:
        return ACTIVATIONS[type(layer)]
    raise Unavailable(f"no such layer in this backend: {layer}")


def _both_sides(padding: contract.Pair) -> list[contract.Pair]:
    return [(pixels, pixels) for pixels in padding]
