"""Training loops as an expert of PyTorch would write them for a small model on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from tests.handwritten.turns import asked, batches_of, take_turns

job = asked()
device = torch.device("cuda" if job.device == "gpu" else "cpu")
torch.backends.cudnn.allow_tf32 = False  # which it takes on a GPU unless told otherwise
features = torch.from_numpy(np.load(job.features)).to(device)
labels = torch.from_numpy(np.load(job.labels)).long().to(device)

if job.model == "mlp":
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
else:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    ).to(device)
    if job.device == "cpu":
        # PyTorch's performance guide: convolutions on the CPU are faster with the channels last.
        model = model.to(memory_format=torch.channels_last)
        features = features.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, fused=True)

model.load_state_dict(load_file(job.weights))


def mean_loss(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(model(images), targets)


if job.mode == "compile":
    mean_loss = torch.compile(mean_loss)


def loss_of(weights: dict[str, torch.Tensor], images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(torch.func.functional_call(model, weights, (images,)), targets)


def step(
    weights: dict[str, torch.Tensor],
    velocities: dict[str, torch.Tensor],
    images: torch.Tensor,
    targets: torch.Tensor,
    batch: torch.Tensor,
) -> torch.Tensor:
    images, targets = images.index_select(0, batch), targets.index_select(0, batch)
    gradients, loss = torch.func.grad_and_value(loss_of)(weights, images, targets)
    for name, weight in weights.items():
        if momentum:
            velocities[name].mul_(momentum).add_(gradients[name])
        weight.sub_(velocities[name] if momentum else gradients[name], alpha=learning_rate)
    return loss


def ahead_of_time(batch: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The step as a library; make_fx writes out the gradients, which torch.export cannot."""
    example = weights, velocities, features, labels, batch
    program = torch.export.export(make_fx(step, tracing_mode="fake")(*example), example)
    return torch._inductor.aoti_load_package(torch._inductor.aoti_compile_and_package(program))


if job.mode in ("step", "aot"):
    learning_rate, momentum = (optimizer.param_groups[0][name] for name in ("lr", "momentum"))
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    velocities = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    if job.mode == "aot":
        compiled_step = ahead_of_time(torch.from_numpy(np.load(job.order)[0]))
    else:
        compiled_step = torch.compile(step, fullgraph=True, mode="reduce-overhead" if job.device == "gpu" else None)
    for tensor in (*weights.values(), *velocities.values(), features, labels):
        torch._dynamo.mark_static_address(tensor)  # a CUDA graph copies what may move


def train(batches: NDArray[np.int64]) -> torch.Tensor:
    if job.mode in ("step", "aot"):
        for batch in torch.from_numpy(batches).to(device):
            loss = compiled_step(weights, velocities, features, labels, batch)
        return loss
    for batch in torch.from_numpy(batches).to(device):
        # Copies whole rows; features[batch] goes through the general indexing kernel, which takes four times as long.
        loss = mean_loss(features.index_select(0, batch), labels.index_select(0, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss


take_turns(
    channel=job.channel,
    parameters=sum(parameter.numel() for parameter in model.parameters()),
    calls=batches_of(job.order, job.steps),
    train=train,
    synchronize=torch.Tensor.item,
)
