# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "torchvision~=0.29.2", "numpy>=2", "safetensors>=0.5"]
# ///
"""PyTorch: eager, and with forward and backward pass or the whole training step compiled by TorchInductor."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # every optimizer of torch.optim imports it when it is made: this way it counts as import
from numpy.typing import NDArray
from torch import distributed, nn
from torch._inductor.runtime.cache_dir_utils import cache_dir
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, TensorDataset

from backends import contract
from backends.contract import Backend, Unavailable

Tensors = dict[str, torch.Tensor]

COUNTER = "num_batches_tracked"
"""A buffer of torch's batch normalization that matters only without a momentum."""


class PyTorch(Backend):
    """Fused optimizers, no transfer from a GPU before ``synchronize``; a data set is two tensors, on device or host."""

    modes = {
        "eager": "torch.nn and a fused optimizer, one operator at a time",
        "compile": "the same with torch.compile around model and loss, so forward and backward pass",
        "step": "torch.compile around the whole step: gather, forward, loss, backward and update",
        "aot": "the same step compiled ahead of time, to a library without Python (AOTInductor)",
    }
    modes_on_request = ("compile", "step")  # aot is faster
    devices = ("cpu", "gpu")
    launcher = ("{python}", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node={replicas}")

    def load(self, job: contract.Job) -> None:
        """Build model, loss and optimizer."""
        if job.device == "gpu" and not torch.cuda.is_available():
            raise Unavailable("torch.cuda.is_available() is False: PyTorch sees no GPU here")
        if job.device == "gpu" and torch.cuda.device_count() < job.replicas:
            found = f"torch.cuda.device_count() is {torch.cuda.device_count()}"
            raise Unavailable(f"{found}: NCCL wants a GPU for each of {job.replicas} replicas")
        if job.device == "cpu" and job.precision == "tf32":
            raise Unavailable("PyTorch has TF32 on GPUs only")
        # cuDNN uses TF32 unless told otherwise.
        torch.backends.cuda.matmul.allow_tf32 = job.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = job.precision == "tf32"
        if job.mode == "aot" and (job.device == "gpu" or job.replicas > 1):
            raise Unavailable("AOTInductor's step is for one replica on the CPU here; take step")
        kinds = {type(layer) for _, layer in contract.named_layers(job.model.layers)}
        self.normalizes = contract.BatchNorm in kinds
        if self.normalizes and job.replicas > 1 and (job.device == "cpu" or job.mode == "step"):
            raise Unavailable(
                "batch_norm over replicas: torch.nn.SyncBatchNorm is for GPUs, and not compiled in a step"
            )
        self.mode = job.mode
        self.input = job.input
        self.stock = job.stock
        self.replicas = job.replicas
        if job.replicas > 1:
            # torchrun has put into the environment who is who. NCCL is for GPUs, and Gloo for CPUs.
            distributed.init_process_group("nccl" if job.device == "gpu" else "gloo")
        self.rank = distributed.get_rank() if job.replicas > 1 else 0
        self.device = torch.device("cuda", self.rank) if job.device == "gpu" else torch.device("cpu")
        if job.device == "gpu":
            torch.cuda.set_device(self.device)
        network, _ = _chain(job.model.layers, images=len(job.model.input_shape) == 3)
        # strict: every parameter of the model must be given, and no other.
        weights = {name: torch.from_numpy(values) for name, values in job.parameters.items()}
        counters = {name: value for name, value in network.state_dict().items() if name.endswith(COUNTER)}
        network.load_state_dict(weights | counters, strict=True)
        # On the CPU, convolutions are faster by a quarter with the channels last (the performance guide says so, too).
        # But not where a kernel skips pixels: in some such models torch 2.15 has damaged its own memory.
        fast = job.device == "cpu" and contract.Conv2d in kinds and not _skips_pixels(job.model)
        self.layout = torch.channels_last if fast else torch.contiguous_format
        self.network = network.to(self.device, memory_format=self.layout)
        if self.normalizes and job.replicas > 1:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        loss_function = functional.cross_entropy if job.loss == "cross-entropy" else functional.mse_loss
        if job.label_smoothing:
            loss_function = partial(functional.cross_entropy, label_smoothing=job.label_smoothing)
        self.logits = torch.compile(self.network) if job.mode == "compile" else self.network
        if job.mode in ("step", "aot"):
            self._build_step(job, loss_function)
        else:
            self._build_loss_and_optimizer(job, loss_function)

    def _build_loss_and_optimizer(self, job: contract.Job, loss_function: Callable[..., torch.Tensor]) -> None:
        self.model = DistributedDataParallel(self.network) if job.replicas > 1 else self.network
        self.optimizer = _optimizer(self.model.parameters(), job.optimizer)
        self.clip_norm = job.optimizer.clip_norm

        def forward(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return loss_function(self.model(features), labels)

        self.loss = torch.compile(forward) if job.mode == "compile" else forward

    def _build_step(self, job: contract.Job, loss_function: Callable[..., torch.Tensor]) -> None:
        """Make one function of a whole step, which changes parameters and optimizer state in place, and compile it."""
        # The same memory as the network's, without what autograd wants to know of it.
        weights = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.num_batches_tracked = None  # nobody reads it, and a function changes only what it gets
        buffers = dict(self.network.named_buffers())
        self.held = {"weights": weights, "buffers": buffers, "state": _initial_state(job.optimizer, weights)}

        def mean_loss(weights: Tensors, buffers: Tensors, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return loss_function(torch.func.functional_call(self.network, (weights, buffers), (features,)), labels)

        gradient = torch.func.grad_and_value(mean_loss)

        def update(held: Any, share: float, features: torch.Tensor, labels: torch.Tensor, *rate: torch.Tensor) -> Any:
            gradients, loss = gradient(held["weights"], held["buffers"], features, labels)
            if job.replicas > 1:
                gradients, loss = _averaged(gradients, share / job.replicas), loss * share
            now = rate[0] if rate else job.optimizer.learning_rate
            _update(job.optimizer, now, held["weights"], held["state"], gradients)
            return loss

        def gathering_update(held: Any, share: float, data: Any, rows: torch.Tensor, *rate: torch.Tensor) -> Any:
            return update(held, share, *(tensor.index_select(0, rows) for tensor in data), *rate)

        self.step = update if job.input == "loader" else gathering_update
        # On a GPU, launching the kernels one by one takes longer than a small model's step: CUDA graphs replay them.
        mode = "reduce-overhead" if job.device == "gpu" else None
        self.compiled_step = torch.compile(self.step, fullgraph=True, dynamic=False, mode=mode)
        self.compiled_size: int | None = None  # of a batch; so far nothing is compiled
        if job.device == "gpu":
            for tensor in tree_leaves(self.held):
                torch._dynamo.mark_static_address(tensor)  # or the graph would copy it in each step

    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy the arrays into tensors; class labels become int64, as cross_entropy wants them."""
        device = torch.device("cpu") if self.input == "loader" else self.device
        label_tensor = torch.tensor(labels, device=device)
        if not label_tensor.is_floating_point():
            label_tensor = label_tensor.long()
        # A copy of NumPy's has huge pages where it is large: gathering a batch of pictures takes a tenth less time.
        feature_tensor = torch.tensor(features) if self.stock else torch.from_numpy(np.array(features))
        feature_tensor = feature_tensor.to(device)
        if features.ndim == 4:
            feature_tensor = feature_tensor.contiguous(memory_format=self.layout)
        if self.mode == "step" and device.type == "cuda":
            torch._dynamo.mark_static_address(feature_tensor)
            torch._dynamo.mark_static_address(label_tensor)
        return feature_tensor, label_tensor

    def train(
        self,
        data: tuple[torch.Tensor, torch.Tensor],
        batches: NDArray[np.int64],
        rates: NDArray[np.float32] | None = None,
    ) -> torch.Tensor:
        """Take the steps; the returned tensor of losses is of this replica's share, and on the device."""
        own = np.array_split(batches, self.replicas, axis=1)[self.rank]
        # DistributedDataParallel takes the plain mean of the gradients, and the shares may differ by a sample.
        weight = own.shape[1] * self.replicas / batches.shape[1]
        if self.mode in ("step", "aot"):
            return self._take_steps(data, own, weight, rates)
        on_gpu = self.device.type == "cuda"
        every_rate = None if rates is None else iter(rates.tolist())
        losses = []
        # Not a function of its own: small models train a percent or two slower with one.
        for features, labels in self._batches(data, own):
            loss = self.loss(features, labels)
            if weight != 1:
                loss = loss * weight
            self.optimizer.zero_grad()
            loss.backward()
            if self.clip_norm:
                _clip([parameter.grad for parameter in self.model.parameters()], self.clip_norm)
            if every_rate:
                self.optimizer.param_groups[0]["lr"] = next(every_rate)
            self.optimizer.step()
            # From a GPU without waiting for it. On the CPU, tensors that are kept would lie between gradients that are
            # freed, and the next ones would get other memory, out of the caches.
            losses.append(loss.detach() if on_gpu else loss.item())
        return torch.stack(losses) if on_gpu else torch.tensor(losses)

    def _take_steps(
        self,
        data: tuple[torch.Tensor, torch.Tensor],
        batches: NDArray[np.int64],
        weight: float,
        rates: NDArray[np.float32] | None,
    ) -> torch.Tensor:
        """Take whole steps: compiled for the size of the first batch, and for other sizes the same without compilation.

        Such is the last batch of an epoch: to compile one more step takes longer than to run it thousands of times.
        """
        size = batches.shape[1]
        if self.compiled_size is None:
            self.compiled_size = size
            if self.mode == "aot":
                example = next(self._step_inputs(data, batches[:1], rates))
                self.compiled_step = _ahead_of_time(self.step, (self.held, weight, *example))
        step = self.compiled_step if size == self.compiled_size else self.step
        on_gpu = self.device.type == "cuda"
        losses = []
        for batch in self._step_inputs(data, batches, rates):
            loss = step(self.held, weight, *batch)
            # The next step's loss will be in the same memory of the GPU.
            losses.append(loss.clone() if on_gpu else loss.item())
        return torch.stack(losses) if on_gpu else torch.tensor(losses)

    def _step_inputs(
        self,
        data: tuple[torch.Tensor, torch.Tensor],
        batches: NDArray[np.int64],
        rates: NDArray[np.float32] | None,
    ) -> Iterator[Any]:
        """A batch as it was loaded or the data and the rows of the batch, and its rate if there is a schedule."""
        inputs: Iterator[Any] = (
            self._loader(data, batches)
            if self.input == "loader"
            else ((data, rows) for rows in torch.from_numpy(batches).to(self.device))
        )
        if rates is None:
            return inputs
        # As tensors: numbers would be compiled in.
        every_rate = torch.from_numpy(np.array(rates)).to(self.device)
        return ((*batch, rate) for batch, rate in zip(inputs, every_rate, strict=True))

    def _batches(self, data: tuple[torch.Tensor, torch.Tensor], batches: NDArray[np.int64]) -> Iterator[Any]:
        """Gather the batches from data on the device, or load them from the host's."""
        if self.input == "loader":
            yield from self._loader(data, batches)
        else:
            features, labels = data
            for rows in torch.from_numpy(batches).to(self.device):
                # Copies whole samples; features[rows] goes through the general kernel for indexing.
                yield features.index_select(0, rows), labels.index_select(0, rows)

    def _loader(self, data: tuple[torch.Tensor, torch.Tensor], batches: NDArray[np.int64]) -> Iterator[Any]:
        """Load in this process: for tensors in memory, sending a batch from another one costs more than making it."""
        # Pinned memory is what lets the copies to a GPU run beside the steps.
        pinned = self.device.type == "cuda"
        samples = TensorDataset(*data)
        for batch in DataLoader(samples, batch_sampler=batches.tolist(), num_workers=0, pin_memory=pinned):
            yield [tensor.to(self.device, non_blocking=True) for tensor in batch]

    def synchronize(self, handle: torch.Tensor) -> NDArray[np.float32]:
        """Wait for the device's queue; on the CPU every operator has finished when it returns."""
        if self.replicas > 1:
            handle = handle / self.replicas
            distributed.all_reduce(handle)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return handle.cpu().numpy()

    def _compiled_parts(self) -> list[contract.Part]:
        if self.mode == "eager":
            return []
        if self.mode == "compile":
            return ["forward", "loss", "backward"]
        return [part for part in contract.PARTS if part != "loop" and (part != "gather" or self.input == "resident")]

    def _kind_of_optimizer(self) -> str:
        if self.mode in ("step", "aot"):
            return "compiled with the step"
        return "fused" if self.optimizer.defaults["fused"] else "foreach"

    @torch.no_grad()
    def predict(self, data: tuple[torch.Tensor, torch.Tensor]) -> NDArray[np.float32]:
        """Run the model without recording gradients, with the running statistics if there are some."""
        if self.normalizes:
            self.network.eval()
        outputs = self.logits(data[0].to(self.device)).cpu().numpy()
        if self.normalizes:
            self.network.train()
        return outputs

    def parameters(self) -> contract.Parameters:
        """Copy the parameters to the host; torch's layouts are the canonical ones."""
        return _on_host({k: value for k, value in self.network.state_dict().items() if not k.endswith(COUNTER)})

    def moments(self) -> tuple[contract.Parameters, contract.Parameters]:
        """Copy Adam's moments to the host."""
        if self.mode in ("step", "aot"):
            return _on_host(self.held["state"]["first"]), _on_host(self.held["state"]["second"])
        named = dict(self.network.named_parameters())
        first, second = (
            _on_host({name: self.optimizer.state[parameter][key] for name, parameter in named.items()})
            for key in ("exp_avg", "exp_avg_sq")
        )
        return first, second

    def describe(self) -> dict[str, Any]:
        """Versions and settings in force."""
        tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        gpu = self.device.type == "cuda"
        return {
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "threads": torch.get_num_threads(),
            "precision": "tf32" if tf32 and gpu else "float32",
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if gpu else None,
            "blas": "mkl" if torch.backends.mkl.is_available() else "other",
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "input": "torch DataLoader" if self.input == "loader" else "resident",
            "memory_format": str(self.layout).removeprefix("torch."),
            "replicas": distributed.get_world_size() if distributed.is_initialized() else 1,
            "collectives": distributed.get_backend() if distributed.is_initialized() else None,
            "optimizer": self._kind_of_optimizer(),
            "compiled": self._compiled_parts(),
            "flushes_subnormals": self._flushes_subnormals(),
        }

    def _flushes_subnormals(self) -> bool:
        """Try it; on a CPU a flag of this thread decides, for compiled code as well."""
        smallest = torch.full((1,), contract.SMALLEST_NORMAL, device=self.device)
        return bool((smallest * 1.5 - smallest).item() == 0)


def _skips_pixels(model: contract.Model) -> bool:
    """Whether any convolution leaves pixels out, as the shortcuts of ResNet do."""
    layers = [layer for _, layer in contract.named_layers(model.layers) if isinstance(layer, contract.Conv2d)]
    return any(stride > kernel for layer in layers for stride, kernel in zip(layer.stride, layer.kernel, strict=True))


def _on_host(tensors: Tensors) -> contract.Parameters:
    """Copies; torch's layouts are the canonical ones."""
    return {name: values.cpu().numpy().copy() for name, values in tensors.items()}


def _optimizer(parameters: Iterator[nn.Parameter], optimizer: contract.Optimizer) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": optimizer.learning_rate, "weight_decay": optimizer.weight_decay, "fused": True}
    if isinstance(optimizer, contract.SGD):
        return torch.optim.SGD(parameters, momentum=optimizer.momentum, nesterov=optimizer.nesterov, **common)
    kind = torch.optim.AdamW if optimizer.decoupled else torch.optim.Adam
    return kind(parameters, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.epsilon, **common)


def _clip(gradients: list[Any], limit: float) -> None:
    """Scale the gradients in place so that their norm is at most the limit.

    torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm, which the contract does not.
    """
    norm = torch.nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, (limit / norm).clamp(max=1.0))


def _initial_state(optimizer: contract.Optimizer, weights: Tensors) -> dict[str, Any]:
    """What the optimizer of a compiled step keeps, for each weight."""

    def zeros() -> Tensors:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}

    if isinstance(optimizer, contract.SGD):
        return {"velocities": zeros() if optimizer.momentum else {}}
    # The powers of the betas need more digits than float32 has: 1 - 0.999 has lost three.
    device = next(iter(weights.values())).device
    return {"first": zeros(), "second": zeros(), "count": torch.zeros((), dtype=torch.float64, device=device)}


def _update(
    optimizer: contract.Optimizer,
    rate: torch.Tensor | float,
    weights: Tensors,
    state: dict[str, Any],
    gradients: Tensors,
) -> None:
    """Take the optimizer's step in place."""
    if optimizer.clip_norm:
        _clip(list(gradients.values()), optimizer.clip_norm)
    if isinstance(optimizer, contract.SGD):
        _sgd(optimizer, rate, weights, state, gradients)
    else:
        _adam(optimizer, rate, weights, state, gradients)


def _sgd(
    sgd: contract.SGD, rate: torch.Tensor | float, weights: Tensors, state: dict[str, Any], gradients: Tensors
) -> None:
    """Update weights and velocities in place, in the order in which torch.optim.SGD computes."""
    for name, gradient in gradients.items():
        if sgd.weight_decay:
            gradient = gradient.add(weights[name], alpha=sgd.weight_decay)
        if sgd.momentum:
            velocity = state["velocities"][name].mul_(sgd.momentum).add_(gradient)
            gradient = gradient.add(velocity, alpha=sgd.momentum) if sgd.nesterov else velocity
        if isinstance(rate, float):
            weights[name].sub_(gradient, alpha=rate)
        else:
            weights[name].sub_(gradient * rate)


def _adam(
    adam: contract.Adam, rate: torch.Tensor | float, weights: Tensors, state: dict[str, Any], gradients: Tensors
) -> None:
    """Update weights and moments in place, in the order in which torch.optim.Adam computes."""
    count = state["count"].add_(1)
    step_size = (rate / (1 - adam.beta1**count)).float()
    root_of_correction = (1 - adam.beta2**count).sqrt().float()
    for name, gradient in gradients.items():
        weight, first, second = weights[name], state["first"][name], state["second"][name]
        if adam.decoupled:
            weight.mul_(1 - rate * adam.weight_decay)
        elif adam.weight_decay:
            gradient = gradient.add(weight, alpha=adam.weight_decay)
        first.lerp_(gradient, 1 - adam.beta1)
        second.mul_(adam.beta2).addcmul_(gradient, gradient, value=1 - adam.beta2)
        weight.sub_(first / ((second.sqrt() / root_of_correction).add_(adam.epsilon)) * step_size)


def _ahead_of_time(step: Callable[..., torch.Tensor], example: tuple[Any, ...]) -> Callable[..., torch.Tensor]:
    """Compile a step to a library, by an example of its arguments, or load the one that another process has compiled.

    torch.export does not follow gradients (2.15: of torch.func or autograd): make_fx writes them out before.
    """
    written_out = make_fx(step, tracing_mode="fake")(*example)
    program = torch.export.export(written_out, example)
    # With shapes and strides, which the graph alone does not show: the library is for these and no others.
    code = program.graph_module.print_readable(print_output=False, include_stride=True, include_device=True)
    key = f"{torch.__version__} {torch.get_num_threads()} {program.graph_signature} {code}"
    package = Path(cache_dir()) / f"step-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt2"
    if not package.exists():
        with tempfile.TemporaryDirectory(dir=package.parent) as folder:
            compiled = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/step.pt2")
            Path(compiled).replace(package)
    return torch._inductor.aoti_load_package(str(package))


def _averaged(gradients: Tensors, share: float) -> Tensors:
    """Sum ``share`` of each replica's gradients over the replicas, in one message as DistributedDataParallel does."""
    joined = torch.cat([gradient.flatten() for gradient in gradients.values()]) * share
    distributed.all_reduce(joined)
    parts = joined.split([gradient.numel() for gradient in gradients.values()])
    return {name: part.view(gradients[name].shape) for name, part in zip(gradients, parts, strict=True)}


class _Residual(nn.Module):  # type: ignore[misc] # torch is not there when types are checked
    """Named so that the parameters have their canonical names."""

    def __init__(self, layers: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) + self.shortcut(x)


def _chain(layers: Sequence[contract.Layer], images: bool) -> tuple[nn.Sequential, bool]:
    """Build layers that follow one another; say whether images leave them, given whether images arrive."""
    modules: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, contract.Residual):
            branch, after = _chain(layer.layers, images)
            modules.append(_Residual(branch, _chain(layer.shortcut, images)[0]))
            images = after
        else:
            modules.append(_layer(layer, images))
            images = images and not isinstance(layer, contract.Flatten | contract.GlobalAvgPool2d)
    return nn.Sequential(*modules), images


def _layer(layer: contract.Layer, images: bool) -> nn.Module:
    match layer:
        case contract.Flatten():
            return nn.Flatten()
        case contract.Linear(inputs, outputs, bias):
            return nn.Linear(inputs, outputs, bias)
        case contract.Conv2d(inputs, outputs, kernel, stride, padding, groups, bias):
            return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
        case contract.MaxPool2d(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case contract.AvgPool2d(kernel, stride, padding):
            return nn.AvgPool2d(kernel, stride, padding)
        case contract.GlobalAvgPool2d():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case contract.BatchNorm(channels, momentum, epsilon):
            return (nn.BatchNorm2d if images else nn.BatchNorm1d)(channels, epsilon, momentum)
        case contract.ReLU():
            return nn.ReLU()
        case contract.LeakyReLU(slope):
            return nn.LeakyReLU(slope)
        case contract.Tanh():
            return nn.Tanh()
        case contract.Sigmoid():
            return nn.Sigmoid()
        case contract.SiLU():
            return nn.SiLU()
        case contract.GELU(tanh):
            return nn.GELU("tanh" if tanh else "none")
        case contract.Softplus():
            return nn.Softplus()
    raise Unavailable(f"no such layer in this backend: {layer}")
