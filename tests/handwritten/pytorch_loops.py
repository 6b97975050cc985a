"""Training loops as an expert of PyTorch would write them for a small model on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch._inductor.runtime.cache_dir_utils import cache_dir
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from tests.handwritten.turns import asked, batches_of, take_turns

job = asked()
device = torch.device("cuda" if job.device == "gpu" else "cpu")
torch.backends.cudnn.allow_tf32 = False  # which it takes on a GPU unless told otherwise
features = torch.from_numpy(np.load(job.features)).to(device)
labels = torch.from_numpy(np.load(job.labels)).long().to(device)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = outputs // inputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) + self.shortcut(x)


def resnet20() -> nn.Sequential:
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [part for pair in pairwise(widths) for part in (Residual(*pair), nn.ReLU())]
    first = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(*first, *blocks, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(64, 10))


scheduled = job.model in ("lenet", "resnet")
if job.model == "mlp":
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )
    constants = {"lr": 0.01}
elif job.model == "cnn":
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )
    constants = {"lr": 0.1, "momentum": 0.5}
elif job.model == "lenet":
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )
    constants = {"lr": 0.05, "momentum": 0.9}
else:
    model = resnet20()
    constants = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}

model = model.to(device)
if job.model != "mlp" and job.device == "cpu":
    # PyTorch's performance guide: convolutions on the CPU are faster with the channels last.
    model = model.to(memory_format=torch.channels_last)
    features = features.contiguous(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), fused=True, **constants)
model.load_state_dict(load_file(job.weights), strict=False)  # which has no counters of batch normalization


def mean_loss(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(model(images), targets)


if job.mode == "compile":
    mean_loss = torch.compile(mean_loss)

Tensors = dict[str, torch.Tensor]


def loss_of(weights: Tensors, buffers: Tensors, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(torch.func.functional_call(model, (weights, buffers), (images,)), targets)


def step(
    weights: Tensors,
    velocities: Tensors,
    buffers: Tensors,
    images: torch.Tensor,
    targets: torch.Tensor,
    batch: torch.Tensor,
    *rate: torch.Tensor,
) -> torch.Tensor:
    images, targets = images.index_select(0, batch), targets.index_select(0, batch)
    gradients, loss = torch.func.grad_and_value(loss_of)(weights, buffers, images, targets)
    for name, weight in weights.items():
        update = gradients[name]
        if decay:
            update = update.add(weight, alpha=decay)
        if momentum:
            update = velocities[name].mul_(momentum).add_(update)
        if scheduled:
            weight.sub_(update * rate[0])
        else:
            weight.sub_(update, alpha=learning_rate)
    return loss


def ahead_of_time(*inputs: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The step as a library; make_fx writes out the gradients, which torch.export cannot.

    Compiled once for all rounds.
    """
    key = (
        f"{torch.__version__} {torch.get_num_threads()} {features.shape} {inputs[0].shape} {Path(__file__).read_text()}"
    )
    package = Path(cache_dir()) / f"{job.model}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt2"
    if not package.exists():
        example = weights, velocities, buffers, features, labels, *inputs
        program = torch.export.export(make_fx(step, tracing_mode="fake")(*example), example)
        torch._inductor.aoti_compile_and_package(program, package_path=str(package))
    return torch._inductor.aoti_load_package(str(package))


if job.mode in ("step", "aot"):
    learning_rate, momentum, decay = (optimizer.param_groups[0][name] for name in ("lr", "momentum", "weight_decay"))
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    velocities = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    buffers = dict(model.named_buffers())
    if job.mode == "aot":
        batch = torch.from_numpy(np.load(job.order)[0])
        compiled_step = ahead_of_time(batch, torch.tensor(learning_rate)) if scheduled else ahead_of_time(batch)
    else:
        compiled_step = torch.compile(step, fullgraph=True, mode="reduce-overhead" if job.device == "gpu" else None)
    for tensor in (*weights.values(), *velocities.values(), *buffers.values(), features, labels):
        torch._dynamo.mark_static_address(tensor)  # a CUDA graph copies what may move


def take_steps(batches: torch.Tensor, rates: NDArray[np.float32]) -> torch.Tensor:
    # Rates as tensors: numbers would be compiled in.
    rows = zip(batches, torch.from_numpy(rates).to(device), strict=True) if scheduled else zip(batches, strict=True)
    for row in rows:
        loss = compiled_step(weights, velocities, buffers, features, labels, *row)
    return loss


def train(call: tuple[NDArray[np.int64], NDArray[np.float32]]) -> torch.Tensor:
    batches = torch.from_numpy(call[0]).to(device)
    if job.mode in ("step", "aot"):
        return take_steps(batches, call[1])
    for batch, rate in zip(batches, call[1].tolist(), strict=True):
        # Copies whole rows; features[batch] goes through the general indexing kernel, which takes four times as long.
        loss = mean_loss(features.index_select(0, batch), labels.index_select(0, batch))
        optimizer.zero_grad()
        loss.backward()
        if scheduled:
            optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return loss


take_turns(
    channel=job.channel,
    parameters=sum(parameter.numel() for parameter in model.parameters()),
    calls=zip(batches_of(job.order, job.steps), batches_of(job.rates, job.steps), strict=True),
    train=train,
    synchronize=torch.Tensor.item,
)
