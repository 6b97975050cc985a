# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "torchvision~=0.29.2", "numpy>=2", "safetensors>=0.5"]
# ///
"""PyTorch: eager, and with forward and backward pass or the whole training step compiled by TorchInductor."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Callable, Iterator
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
from torch.utils.data import DataLoader, TensorDataset

from backends import contract
from backends.contract import Backend, Unavailable

Tensors = dict[str, torch.Tensor]


class PyTorch(Backend):
    """Fused SGD, no transfer from a GPU before ``synchronize``; a data set is two tensors, on the device or host."""

    modes = {
        "eager": "torch.nn and fused SGD, one operator at a time",
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
        network = nn.Sequential(*(_layer(layer) for layer in job.model.layers))
        # strict: every parameter of the model must be given, and no other.
        weights = {name: torch.from_numpy(values) for name, values in job.parameters.items()}
        network.load_state_dict(weights, strict=True)
        # On the CPU, convolutions are faster by a quarter with the channels last (the performance guide says so, too).
        convolutional = any(isinstance(layer, contract.Conv2d) for layer in job.model.layers)
        self.layout = torch.channels_last if convolutional and job.device == "cpu" else torch.contiguous_format
        self.network = network.to(self.device, memory_format=self.layout)
        loss_function = functional.cross_entropy if job.loss == "cross-entropy" else functional.mse_loss
        self.logits = torch.compile(self.network) if job.mode == "compile" else self.network
        if job.mode in ("step", "aot"):
            self._build_step(job, loss_function)
        else:
            self._build_loss_and_optimizer(job, loss_function)

    def _build_loss_and_optimizer(self, job: contract.Job, loss_function: Callable[..., torch.Tensor]) -> None:
        self.model = DistributedDataParallel(self.network) if job.replicas > 1 else self.network
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=job.optimizer.learning_rate,
            momentum=job.optimizer.momentum,
            nesterov=job.optimizer.nesterov,
            weight_decay=job.optimizer.weight_decay,
            fused=True,
        )

        def forward(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return loss_function(self.model(features), labels)

        self.loss = torch.compile(forward) if job.mode == "compile" else forward

    def _build_step(self, job: contract.Job, loss_function: Callable[..., torch.Tensor]) -> None:
        """Make one function of a whole step, which changes parameters and velocities in place, and compile it."""
        # The same memory as the network's, without what autograd wants to know of it.
        self.weights = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        with_velocity = self.weights if job.optimizer.momentum else {}
        self.velocities = {name: torch.zeros_like(weight) for name, weight in with_velocity.items()}

        def mean_loss(weights: Tensors, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return loss_function(torch.func.functional_call(self.network, weights, (features,)), labels)

        gradient = torch.func.grad_and_value(mean_loss)

        def update(
            weights: Tensors, velocities: Tensors, share: float, features: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            gradients, loss = gradient(weights, features, labels)
            if job.replicas > 1:
                gradients, loss = _averaged(gradients, share / job.replicas), loss * share
            _sgd(job.optimizer, weights, velocities, gradients)
            return loss

        def gathering_update(
            weights: Tensors, velocities: Tensors, share: float, data: tuple[torch.Tensor, ...], rows: torch.Tensor
        ) -> torch.Tensor:
            return update(weights, velocities, share, *(tensor.index_select(0, rows) for tensor in data))

        self.step = update if job.input == "loader" else gathering_update
        # On a GPU, launching the kernels one by one takes longer than a small model's step: CUDA graphs replay them.
        mode = "reduce-overhead" if job.device == "gpu" else None
        self.compiled_step = torch.compile(self.step, fullgraph=True, dynamic=False, mode=mode)
        self.compiled_size: int | None = None  # of a batch; so far nothing is compiled
        if job.device == "gpu":
            for tensor in [*self.weights.values(), *self.velocities.values()]:
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

    def train(self, data: tuple[torch.Tensor, torch.Tensor], batches: NDArray[np.int64]) -> torch.Tensor:
        """Take the steps; the returned tensor of losses is of this replica's share, and on the device."""
        own = np.array_split(batches, self.replicas, axis=1)[self.rank]
        # DistributedDataParallel takes the plain mean of the gradients, and the shares may differ by a sample.
        weight = own.shape[1] * self.replicas / batches.shape[1]
        if self.mode in ("step", "aot"):
            return self._take_steps(data, own, weight)
        on_gpu = self.device.type == "cuda"
        losses = []
        # Not a function of its own: small models train a percent or two slower with one.
        for features, labels in self._batches(data, own):
            loss = self.loss(features, labels)
            if weight != 1:
                loss = loss * weight
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            # From a GPU without waiting for it. On the CPU, tensors that are kept would lie between gradients that are
            # freed, and the next ones would get other memory, out of the caches.
            losses.append(loss.detach() if on_gpu else loss.item())
        return torch.stack(losses) if on_gpu else torch.tensor(losses)

    def _take_steps(
        self, data: tuple[torch.Tensor, torch.Tensor], batches: NDArray[np.int64], weight: float
    ) -> torch.Tensor:
        """Take whole steps: compiled for the size of the first batch, and for other sizes the same without compilation.

        Such is the last batch of an epoch: to compile one more step takes longer than to run it thousands of times.
        """
        size = batches.shape[1]
        if self.compiled_size is None:
            self.compiled_size = size
            if self.mode == "aot":
                example = next(self._step_inputs(data, batches[:1]))
                self.compiled_step = _ahead_of_time(self.step, (self.weights, self.velocities, weight, *example))
        step = self.compiled_step if size == self.compiled_size else self.step
        on_gpu = self.device.type == "cuda"
        losses = []
        for batch in self._step_inputs(data, batches):
            loss = step(self.weights, self.velocities, weight, *batch)
            # The next step's loss will be in the same memory of the GPU.
            losses.append(loss.clone() if on_gpu else loss.item())
        return torch.stack(losses) if on_gpu else torch.tensor(losses)

    def _step_inputs(self, data: tuple[torch.Tensor, torch.Tensor], batches: NDArray[np.int64]) -> Iterator[Any]:
        if self.input == "loader":
            yield from self._loader(data, batches)
        else:
            yield from ((data, rows) for rows in torch.from_numpy(batches).to(self.device))

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

    def _kind_of_sgd(self) -> str:
        if self.mode in ("step", "aot"):
            return "compiled with the step"
        return "fused" if self.optimizer.defaults["fused"] else "foreach"

    @torch.no_grad()
    def predict(self, data: tuple[torch.Tensor, torch.Tensor]) -> NDArray[np.float32]:
        """Run the model without recording gradients."""
        return self.logits(data[0].to(self.device)).cpu().numpy()

    def parameters(self) -> contract.Parameters:
        """Copy the parameters to the host; torch's layouts are the canonical ones."""
        return {name: values.cpu().numpy().copy() for name, values in self.network.state_dict().items()}

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
            "sgd": self._kind_of_sgd(),
            "compiled": self._compiled_parts(),
            "flushes_subnormals": self._flushes_subnormals(),
        }

    def _flushes_subnormals(self) -> bool:
        """Try it; on a CPU a flag of this thread decides, for compiled code as well."""
        smallest = torch.full((1,), contract.SMALLEST_NORMAL, device=self.device)
        return bool((smallest * 1.5 - smallest).item() == 0)


def _sgd(sgd: contract.SGD, weights: Tensors, velocities: Tensors, gradients: Tensors) -> None:
    """Update weights and velocities in place, in the order in which torch.optim.SGD computes."""
    for name, gradient in gradients.items():
        if sgd.weight_decay:
            gradient = gradient.add(weights[name], alpha=sgd.weight_decay)
        if sgd.momentum:
            velocity = velocities[name].mul_(sgd.momentum).add_(gradient)
            gradient = gradient.add(velocity, alpha=sgd.momentum) if sgd.nesterov else velocity
        weights[name].sub_(gradient, alpha=sgd.learning_rate)


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


def _layer(layer: contract.Layer) -> nn.Module:
    match layer:
        case contract.Flatten():
            return nn.Flatten()
        case contract.Linear(inputs, outputs):
            return nn.Linear(inputs, outputs)
        case contract.Conv2d(inputs, outputs, kernel, stride, padding):
            return nn.Conv2d(inputs, outputs, kernel, stride, padding)
        case contract.MaxPool2d(kernel, stride):
            return nn.MaxPool2d(kernel, stride)
        case contract.AvgPool2d(kernel, stride):
            return nn.AvgPool2d(kernel, stride)
        case contract.ReLU():
            return nn.ReLU()
        case contract.Tanh():
            return nn.Tanh()
    raise Unavailable(f"no such layer in this backend: {layer}")
