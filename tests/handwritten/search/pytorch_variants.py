# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "torchvision~=0.29.2", "numpy>=2", "safetensors>=0.5"]
# ///
"""Ways in which experts of PyTorch train small models: lockstep's backend with one thing changed in each.

What begins with "step" is its compiled step, the others are its eager mode. ``autocast`` is not among them: it is other
arithmetic.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from backends import contract
from backends.pytorch import PyTorch

STEPS = ("step-cpp-wrapper", "step-autotune", "step-unguarded", "step-10-steps", "step-keeping", "step-scan")


class PyTorchVariants(PyTorch):
    """The backend of PyTorch, with one thing changed."""

    modes = {
        "foreach": "SGD with `foreach=True` instead of `fused=True`",
        "single-tensor": "SGD with neither",
        "contiguous": "channels first",
        "flat": "parameters and gradients are views of one tensor, which SGD updates",
        "in-backward": "an optimizer per parameter, in a hook of the backward pass",
        "autograd-grad": "`torch.autograd.grad` instead of `backward`",
        "func-grad": "`torch.func.grad_and_value`, updates by `torch._foreach_...`",
        "gather-ahead": "all batches of a call gathered at once",
        "list": "losses kept as tensors, stacked at the end of a call",
        "zero-grad": "`zero_grad(set_to_none=False)`",
        "inplace-relu": "`nn.ReLU(inplace=True)`",
        "script": "`torch.jit.script` of model and loss",
        "trace": "`torch.jit.trace` of model and loss",
        "trace-onednn": "the same with `torch.jit.enable_onednn_fusion`",
        "no-mkldnn": "`torch.backends.mkldnn` off",
        "compile-model": "`torch.compile` of the model, the loss outside",
        "compile-gather-ahead": "lockstep's compile, all batches of a call gathered at once",
        "aot-forward": "AOTInductor of model and loss",
        "step-cpp-wrapper": "`torch.compile` of the step with `cpp_wrapper`: no Python between its kernels",
        "step-autotune": "the same with `max_autotune`",
        "step-unguarded": "the same with `torch.compiler.set_stance(skip_guard_eval_unsafe=True)`",
        "step-10-steps": "10 steps unrolled in a compiled call",
        "step-keeping": "losses kept as tensors, stacked at the end of a call",
        "step-scan": "the steps of a call as `torch`'s higher-order `scan`, compiled",
    }
    devices = ("cpu",)  # type: ignore[assignment] # a literal, as the parent reads it

    def load(self, job: contract.Job) -> None:
        """Load as the backend does, and then change what the variant is about."""
        lockstep = {"compile-gather-ahead": "compile"}.get(job.mode, "step" if job.mode in STEPS else "eager")
        super().load(replace(job, mode=lockstep))
        self.variant = job.mode
        assert isinstance(job.optimizer, contract.SGD)  # the default experiments have no other
        self.sgd = job.optimizer
        self.parameters_ = list(self.network.parameters())
        self.loss_function = functional.cross_entropy if job.loss == "cross-entropy" else functional.mse_loss
        torch.backends.mkldnn.set_flags(_enabled=job.mode != "no-mkldnn")
        self.aot: Any = None
        match job.mode:
            case "foreach" | "single-tensor":
                self.optimizer = self._sgd(self.parameters_, foreach=job.mode == "foreach")
            case "contiguous":
                self.layout = torch.contiguous_format
                self.network.to(memory_format=self.layout)
            case "flat":
                self._flatten()
            case "in-backward":
                self._update_in_backward()
            case "inplace-relu":
                for layer in self.network:
                    if isinstance(layer, nn.ReLU):
                        layer.inplace = True
            case "compile-model":
                model = torch.compile(self.network)
                self.loss = lambda features, labels: self.loss_function(model(features), labels)
            case "func-grad":
                self.velocity_list = [torch.zeros_like(parameter) for parameter in self.parameters_]
            case "step-cpp-wrapper" | "step-autotune":
                option = {"step-cpp-wrapper": "cpp_wrapper", "step-autotune": "max_autotune"}[job.mode]
                self.compiled_step = torch.compile(self.step, fullgraph=True, dynamic=False, options={option: True})
            case "step-10-steps" | "step-scan":
                several = self._several_steps if job.mode == "step-10-steps" else self._scan
                self.several_steps = torch.compile(several, fullgraph=True, dynamic=False)
        torch.jit.enable_onednn_fusion(job.mode == "trace-onednn")

    def _sgd(self, parameters: Any, **options: Any) -> torch.optim.SGD:
        sgd = self.sgd
        return torch.optim.SGD(
            parameters,
            lr=sgd.learning_rate,
            momentum=sgd.momentum,
            nesterov=sgd.nesterov,
            weight_decay=sgd.weight_decay,
            **options,
        )

    def _flatten(self) -> None:
        sizes = [parameter.numel() for parameter in self.parameters_]
        flat = torch.zeros(sum(sizes))
        flat.grad = torch.zeros_like(flat)
        for parameter, values, gradient in zip(
            self.parameters_, flat.split(sizes), flat.grad.split(sizes), strict=True
        ):
            shape, strides = parameter.shape, parameter.stride()
            values = values.as_strided(shape, strides, values.storage_offset())
            values.copy_(parameter.detach())
            parameter.data = values
            parameter.grad = gradient.as_strided(shape, strides, gradient.storage_offset())
        self.flat = flat
        self.optimizer = self._sgd([flat], fused=True)

    def _update_in_backward(self) -> None:
        for parameter in self.parameters_:
            own = self._sgd([parameter], fused=True)

            def update(parameter: Any, own: Any = own) -> None:
                own.step()
                parameter.grad = None

            parameter.register_post_accumulate_grad_hook(update)

    def train(self, data: Any, batches: NDArray[np.int64], rates: Any = None) -> torch.Tensor:
        """Take the steps in the variant's way, or in the backend's with what was put into its place."""
        if self.variant in ("script", "trace", "trace-onednn", "aot-forward") and self.aot is None:
            self.aot = self._compiled(data, torch.from_numpy(batches[0]))
        ways: dict[str, Callable[..., torch.Tensor]] = {
            "flat": self._train_flat,
            "in-backward": self._train_in_backward,
            "autograd-grad": self._train_with_grad,
            "func-grad": self._train_functionally,
            "list": self._train_keeping,
            "zero-grad": self._train_keeping_gradients,
            "step-unguarded": self._train_unguarded,
            "step-10-steps": self._train_several,
            "step-keeping": self._train_keeping_steps,
            "step-scan": self._train_scan,
        }
        if self.variant in ways:
            return ways[self.variant](data, torch.from_numpy(batches))
        return super().train(data, batches)

    def _batches(self, data: Any, batches: NDArray[np.int64]) -> Any:
        if not self.variant.endswith("gather-ahead"):
            return super()._batches(data, batches)
        rows = torch.from_numpy(batches).reshape(-1)
        return zip(*(array.index_select(0, rows).split(batches.shape[1]) for array in data), strict=True)

    def _compiled(self, data: Any, rows: torch.Tensor) -> Any:
        """Compile by an example what takes the place of model and loss in the backend's loop."""
        batch = tuple(array.index_select(0, rows) for array in data)
        module = _WithLoss(self.network, self.loss_function)
        if self.variant == "aot-forward":
            compiled = _ahead_of_time(module, batch)
            self.loss = compiled
        elif self.variant == "script":
            network, cross_entropy = torch.jit.script(self.network), self.loss_function is functional.cross_entropy
            scripted = torch.jit.script(_scripted_cross_entropy if cross_entropy else _scripted_squared_error)
            self.loss = lambda features, labels: scripted(network(features), labels)
        else:
            self.loss = torch.jit.trace(module, batch)
        return self.loss

    def _arrays(self) -> list[torch.Tensor]:
        return [parameter.detach() for parameter in self.parameters_] + self.velocity_list

    def _step(self, arrays: list[torch.Tensor], features: Any, labels: Any, rows: Any) -> torch.Tensor:
        """A step by functions alone, which updates the parameters and velocities that it gets."""
        half = len(arrays) // 2
        parameters, velocities = arrays[:half], arrays[half:]
        batch = features.index_select(0, rows), labels.index_select(0, rows)
        gradients, loss = torch.func.grad_and_value(self._loss_of)(parameters, *batch)
        if self.sgd.weight_decay:
            gradients = torch._foreach_add(gradients, parameters, alpha=self.sgd.weight_decay)
        if self.sgd.momentum:
            torch._foreach_mul_(velocities, self.sgd.momentum)
            torch._foreach_add_(velocities, gradients)
            if self.sgd.nesterov:
                gradients = torch._foreach_add(gradients, velocities, alpha=self.sgd.momentum)
            else:
                gradients = velocities
        torch._foreach_add_(parameters, gradients, alpha=-self.sgd.learning_rate)
        return loss

    def _loss_of(self, parameters: list[torch.Tensor], features: Any, labels: Any) -> torch.Tensor:
        named = dict(zip(dict(self.network.named_parameters()), parameters, strict=True))
        return self.loss_function(torch.func.functional_call(self.network, named, (features,)), labels)

    def _samples(self, data: Any, rows: torch.Tensor) -> Any:
        return data[0].index_select(0, rows), data[1].index_select(0, rows)

    def _train_flat(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        losses = []
        for rows in batches:
            loss = self.loss(*self._samples(data, rows))
            self.flat.grad.zero_()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    def _train_in_backward(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        losses = []
        for rows in batches:
            loss = self.loss(*self._samples(data, rows))
            loss.backward()
            losses.append(loss.item())
        return torch.tensor(losses)

    def _train_with_grad(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        losses = []
        for rows in batches:
            loss = self.loss(*self._samples(data, rows))
            for parameter, gradient in zip(self.parameters_, torch.autograd.grad(loss, self.parameters_), strict=True):
                parameter.grad = gradient
            self.optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    def _train_functionally(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        arrays, (features, labels) = self._arrays(), data
        return torch.tensor([self._step(arrays, features, labels, rows).item() for rows in batches])

    def _train_keeping(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        losses = []
        for rows in batches:
            loss = self.loss(*self._samples(data, rows))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _train_keeping_gradients(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        losses = []
        for rows in batches:
            loss = self.loss(*self._samples(data, rows))
            self.optimizer.zero_grad(set_to_none=False)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    def _train_unguarded(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        losses = []
        for number, rows in enumerate(batches):
            losses.append(self.compiled_step(self.held, 1.0, data, rows).item())
            if number == 0:
                torch.compiler.set_stance(skip_guard_eval_unsafe=True)
        torch.compiler.set_stance("default")
        return torch.tensor(losses)

    def _train_several(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        whole = len(batches) // 10 * 10
        calls = batches[:whole].split(10) if whole else ()
        losses = [self.several_steps(self.held, data, rows) for rows in calls]
        rest = [self.step(self.held, 1.0, data, rows)[None] for rows in batches[whole:]]
        return torch.cat([*losses, *rest])

    def _several_steps(self, held: Any, data: Any, batches: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.step(held, 1.0, data, rows) for rows in batches.unbind()])

    def _train_keeping_steps(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.compiled_step(self.held, 1.0, data, rows) for rows in batches])

    def _train_scan(self, data: Any, batches: torch.Tensor) -> torch.Tensor:
        held, losses = self.several_steps(self.held, data, batches)
        for ours, theirs in zip(tree_leaves(self.held), tree_leaves(held), strict=True):
            ours.copy_(theirs)
        return losses

    def _scan(self, held: Any, data: Any, batches: torch.Tensor) -> Any:
        def body(carry: Any, rows: torch.Tensor) -> Any:
            held = tree_map(torch.clone, carry)
            loss = self.step(held, 1.0, data, rows)
            return held, loss.clone()

        return scan(body, held, batches)


class _WithLoss(nn.Module):
    def __init__(self, network: nn.Module, loss: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.loss(self.network(features), labels)


def _ahead_of_time(module: nn.Module, arguments: tuple[Any, ...]) -> Any:
    exported = torch.export.export(module, arguments)
    package = Path(tempfile.mkdtemp(dir=".")).absolute() / "step.pt2"
    return torch._inductor.aoti_load_package(
        torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
    )


def _scripted_cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, labels)


def _scripted_squared_error(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(outputs, labels)
