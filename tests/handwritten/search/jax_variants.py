# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["jax~=0.10.2", "flax~=0.12.8", "optax~=0.2.8", "numpy>=2", "safetensors>=0.5"]
# ///
"""Ways in which experts of JAX train small models: lockstep's backend with one thing changed in each.

XLA's flags go to the faster of lockstep's two modes there: jit where there are convolutions, scan elsewhere.
``xla_cpu_enable_fast_math`` is not among them: it is other arithmetic. ``xla_cpu_use_thunk_runtime`` is not either: in
jaxlib 0.10.2 it does nothing ("Deprecated"), and it is no compile option.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from numpy.typing import NDArray

from backends import contract
from backends.contract import Unavailable
from backends.jax import Jax, _gathering, _keeping, _loss, _optimizer, _room, _scan

UNROLLED = {"scan-unroll-5": 5, "scan-unroll-10": 10, "scan-unroll-50": 50}

TOGETHER = {"jit-2-steps": 2, "jit-10-steps": 10, "jit-50-steps": 50}

DOT_AND_MORE = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_ELTWISE,LIBRARY_FUSION_TYPE_REDUCE"

FLAGS: dict[str, dict[str, Any]] = {
    "flag-concurrency": {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_CONCURRENCY_OPTIMIZED"},
    "flag-xnn": {"xla_cpu_experimental_xnn_fusion_type": DOT_AND_MORE},
    "flag-no-xnnpack": {"xla_cpu_use_xnnpack": False},
    "flag-ynn": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"},
    "flag-no-eigen-threads": {"xla_cpu_multi_thread_eigen": False},
    "flag-no-fusion-emitters": {"xla_cpu_use_fusion_emitters": False},
    "flag-region-analysis": {"xla_cpu_copy_insertion_use_region_analysis": True},
    "flag-fast-runtime": {"xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_RUNTIME"},
    "flag-fast-compile": {"xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE"},
}


class JaxVariants(Jax):
    """The backend of JAX, with one thing changed before anything is traced."""

    modes = {
        "jit-aot": "`jit(...).lower().compile()`, called instead of the jitted step",
        "jit-no-donation": "jit without donated buffers",
        "jit-list": "losses kept in a list, stacked at the end of a call",
        "jit-gather-outside": "the batch gathered by a jitted function of its own",
        "jit-rows-on-device": "a call's indices sent at once; the step picks its row by a counter",
        "jit-sync": "`jax_cpu_enable_async_dispatch` off",
        "jit-flat": "`optax.flatten`: one array for momentum and update",
        "jit-2-steps": "2 steps unrolled in a jitted call",
        "jit-10-steps": "10 steps unrolled in a jitted call",
        "jit-50-steps": "all steps of a call unrolled in a jitted call",
        "jit-patches": "convolution as slices and one product",
        "jit-window-pools": "pooling as comparisons and means of slices",
        "jit-patches-pools": "both",
        "scan-no-donation": "scan without donated buffers",
        "scan-aot": "`jit(scan).lower().compile()`",
        "scan-sync": "`jax_cpu_enable_async_dispatch` off",
        "scan-gathered": "all batches of a call gathered at once before the scan",
        "scan-fori": "`fori_loop` that writes the losses into an array",
        "scan-unroll-5": "scan, `unroll=5`",
        "scan-unroll-10": "scan, `unroll=10`",
        "scan-unroll-50": "scan, `unroll=50`",
        "scan-patches": "scan, convolution as slices and one product",
        "scan-patches-pools": "scan, convolution as slices and a product, pooling as slices",
        "scan-gathered-patches-pools": "the same, and all batches gathered before",
        "flag-concurrency": "`xla_cpu_scheduler_type`: concurrency-optimized",
        "flag-xnn": "`xla_cpu_experimental_xnn_fusion_type`, all three",
        "flag-no-xnnpack": "`xla_cpu_use_xnnpack=false`",
        "flag-ynn": "`xla_cpu_experimental_ynn_fusion_type`: products",
        "flag-no-eigen-threads": "`xla_cpu_multi_thread_eigen=false`",
        "flag-no-fusion-emitters": "`xla_cpu_use_fusion_emitters=false`",
        "flag-region-analysis": "`xla_cpu_copy_insertion_use_region_analysis`",
        "flag-fast-runtime": "`xla_cpu_opt_preset=FAST_RUNTIME`",
        "flag-fast-compile": "`xla_cpu_opt_preset=FAST_COMPILE`",
    }
    devices = ("cpu",)  # type: ignore[assignment] # a literal, as the parent reads it

    def load(self, job: contract.Job) -> None:
        """Load as the backend does, and then change what the variant is about."""
        if "sync" in job.mode:
            jax.config.update("jax_cpu_enable_async_dispatch", False)
        if job.scheduled:
            raise Unavailable("the variants train with a constant learning rate")
        super().load(job)
        self.variant = job.mode
        convolutions = any(isinstance(layer, contract.Conv2d) for layer in job.model.layers)
        if not convolutions and ("patches" in job.mode or "pools" in job.mode):
            raise Unavailable("no convolution here")
        self.mode = "scan" if job.mode.startswith("scan") or (job.mode in FLAGS and not convolutions) else "jit"
        if "flat" in job.mode:
            self.optimizer = lambda: optax.flatten(_optimizer(job.optimizer))
            self.state = self.optimizer().init(self.variables["params"])
        if "patches" in job.mode or "pools" in job.mode:
            self.network = nn.Sequential([_rewritten(layer, self.variant) for layer in self.network.layers])
            if "pools" in job.mode:
                self._replace_pools(job.model.layers)
        self.update = self._update(_loss(job))
        self._compile_otherwise(_gathering(self.update))
        self.compiled: dict[int, Any] = {}

    def _replace_pools(self, layers: tuple[contract.Layer, ...]) -> None:
        pools = {contract.MaxPool2d: _max_pool, contract.AvgPool2d: _avg_pool}
        own = [
            pools[type(layer)] if isinstance(layer, contract.MaxPool2d | contract.AvgPool2d) else function
            for layer, function in zip(layers, self.network.layers, strict=True)
        ]
        self.network = nn.Sequential(own)

    def _compile_otherwise(self, step: Callable[..., Any]) -> None:
        """Put other jitted functions into the places of the backend's."""
        donated: dict[str, Any] = {"donate_argnums": (0, 1)}
        options = FLAGS.get(self.variant)
        match self.variant:
            case "jit-no-donation":
                self.keeping_step = jax.jit(_keeping(step))
            case "scan-no-donation":
                self.scan = jax.jit(_scan(step))
            case "scan-gathered" | "scan-gathered-patches-pools":
                self.scan = jax.jit(_scan_gathered(self.update), **donated)
            case "scan-fori":
                self.scan = jax.jit(_fori(step), **donated)
            case variant if variant in UNROLLED:
                self.scan = jax.jit(_unrolled_scan(step, UNROLLED[variant]), **donated)
            case variant if variant in FLAGS:
                self.keeping_step = jax.jit(_keeping(step), donate_argnums=(0, 1, 2), compiler_options=options)
                self.scan = jax.jit(_scan(step), **donated, compiler_options=options)
        self.many_steps = jax.jit(_unrolled(step), **donated)
        self.picking_step = jax.jit(_picking(step), donate_argnums=(0, 1, 2, 3))
        self.gather = jax.jit(lambda features, labels, rows: (features[rows], labels[rows]))
        self.keeping_update = jax.jit(_keeping(self.update), donate_argnums=(0, 1, 2))

    def train(self, data: tuple[Any, Any], batches: NDArray[np.int64], rates: NDArray[np.float32] | None = None) -> Any:
        """Take the steps in the variant's way, or in the backend's with what was put into its place."""
        rows = batches.astype(np.int32)
        ways: dict[str, Callable[..., Any]] = {
            "jit-list": self._keep_list,
            "jit-gather-outside": self._gather_outside,
            "jit-rows-on-device": self._pick_rows,
            **dict.fromkeys(TOGETHER, self._many_at_once),
            "jit-aot": self._ahead,
            "scan-aot": self._scan_ahead,
        }
        return ways[self.variant](data, rows) if self.variant in ways else super().train(data, batches)

    def _keep_list(self, data: Any, rows: NDArray[np.int32]) -> Any:
        losses = []
        for batch in rows:
            self.variables, self.state, loss = self.step(self.variables, self.state, *data, batch)
            losses.append(loss)
        return self.stack(losses), len(rows)

    def _gather_outside(self, data: Any, rows: NDArray[np.int32]) -> Any:
        losses = self.zeros(_room(len(rows)))
        for batch in rows:
            samples = self.gather(*data, batch)
            self.variables, self.state, losses = self.keeping_update(self.variables, self.state, losses, samples)
        return losses, len(rows)

    def _pick_rows(self, data: Any, rows: NDArray[np.int32]) -> Any:
        losses, count, resident = self.zeros(_room(len(rows))), jnp.int32(0), jax.device_put(rows)
        for _ in rows:
            self.variables, self.state, losses, count = self.picking_step(
                self.variables, self.state, losses, count, *data, resident
            )
        return losses, len(rows)

    def _many_at_once(self, data: Any, rows: NDArray[np.int32]) -> Any:
        together = TOGETHER[self.variant]
        every_loss = []
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            self.variables, self.state, losses = self.many_steps(self.variables, self.state, *data, part)
            every_loss.append(losses)
        return np.concatenate(every_loss), len(rows)

    def _ahead(self, data: Any, rows: NDArray[np.int32]) -> Any:
        losses = self.zeros(_room(len(rows)))
        key = len(losses)
        if key not in self.compiled:
            lowered = self.keeping_step.lower(self.variables, self.state, losses, *data, rows[0])
            self.compiled[key] = lowered.compile()
        step = self.compiled[key]
        for batch in rows:
            self.variables, self.state, losses = step(self.variables, self.state, losses, *data, batch)
        return losses, len(rows)

    def _scan_ahead(self, data: Any, rows: NDArray[np.int32]) -> Any:
        if len(rows) not in self.compiled:
            self.compiled[len(rows)] = self.scan.lower(self.variables, self.state, data, (rows,)).compile()
        self.variables, self.state, losses = self.compiled[len(rows)](self.variables, self.state, data, (rows,))
        return losses, len(rows)


def _scan_gathered(update: Callable[..., Any]) -> Callable[..., Any]:
    def scan(variables: Any, state: Any, resident: tuple[Any, Any], inputs: tuple[jax.Array]) -> Any:
        (features, labels), (batches,) = resident, inputs
        return _scan(update)(variables, state, (), ((features[batches], labels[batches]),))

    return scan


def _unrolled_scan(step: Callable[..., Any], unroll: int) -> Callable[..., Any]:
    def scan(variables: Any, state: Any, resident: tuple[Any, Any], inputs: tuple[jax.Array]) -> Any:
        def body(carry: Any, row: tuple[jax.Array]) -> Any:
            variables, state, loss = step(*carry, *resident, *row)
            return (variables, state), loss

        (variables, state), losses = jax.lax.scan(body, (variables, state), inputs, unroll=unroll)
        return variables, state, losses

    return scan


def _fori(step: Callable[..., Any]) -> Callable[..., Any]:
    def loop(variables: Any, state: Any, resident: tuple[Any, Any], inputs: tuple[jax.Array]) -> Any:
        (batches,) = inputs

        def body(i: jax.Array, carry: Any) -> Any:
            variables, state, losses = carry
            variables, state, loss = step(variables, state, *resident, batches[i])
            return variables, state, losses.at[i].set(loss)

        return jax.lax.fori_loop(0, len(batches), body, (variables, state, jnp.zeros(len(batches))))

    return loop


def _unrolled(step: Callable[..., Any]) -> Callable[..., Any]:
    def many_steps(variables: Any, state: Any, features: jax.Array, labels: jax.Array, batches: jax.Array) -> Any:
        losses = []
        for i in range(len(batches)):
            variables, state, loss = step(variables, state, features, labels, batches[i])
            losses.append(loss)
        return variables, state, jnp.stack(losses)

    return many_steps


def _picking(step: Callable[..., Any]) -> Callable[..., Any]:
    keeping = _keeping(step)

    def picking_step(variables: Any, state: Any, losses: jax.Array, count: jax.Array, *inputs: Any) -> Any:
        *data, batches = inputs
        return *keeping(variables, state, losses, *data, batches[count]), count + 1

    return picking_step


def _rewritten(layer: Any, variant: str) -> Any:
    return layer.clone(conv_general_dilated=_patches) if isinstance(layer, nn.Conv) and "patches" in variant else layer


def _patches(images: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **_: Any) -> jax.Array:
    """A convolution of stride 1: the shifted images side by side, times the kernel as a matrix."""
    height, width, channels, outputs = kernel.shape
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    rows, columns = padded.shape[1] - height + 1, padded.shape[2] - width + 1
    shifted = [padded[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(height * width * channels, outputs)


def _corners(images: jax.Array) -> list[jax.Array]:
    """The four pixels of every window of 2 x 2, in row-major order."""
    number, height, width, channels = images.shape
    windows = images[:, : height // 2 * 2, : width // 2 * 2].reshape(number, height // 2, 2, width // 2, 2, channels)
    return [windows[:, :, i, :, j] for i in range(2) for j in range(2)]


def _max_pool(images: jax.Array) -> jax.Array:
    """Windows of 2 x 2; the first of the largest gets the gradient, as in the backend."""
    a, b, c, d = _corners(images)
    upper, lower = jnp.where(b > a, b, a), jnp.where(d > c, d, c)
    return jnp.where(lower > upper, lower, upper)


def _avg_pool(images: jax.Array) -> jax.Array:
    return sum(_corners(images)) / 4
