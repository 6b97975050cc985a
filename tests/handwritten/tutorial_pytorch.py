"""The loop of PyTorch's beginners' tutorial: each sample transformed, a loader, a print every 100 batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from tests.handwritten.turns import as_pictures, asked, take_turns

job = asked()


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Pictures and labels, as torchvision's MNIST holds them: uint8 [n, height, width], int64 [n]."""

    def __init__(self) -> None:
        self.data = torch.from_numpy(as_pictures(np.load(job.features))[:, 0])
        self.targets = torch.from_numpy(np.load(job.labels)).long()
        self.transform = transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, target = self.data[index], int(self.targets[index])
        return self.transform(Image.fromarray(image.numpy())), target


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_relu_stack(self.flatten(x))


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 2 * 2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(nn.functional.relu(self.conv1(x)), 2)
        x = nn.functional.avg_pool2d(nn.functional.relu(self.conv2(x)), 2)
        return self.fc(torch.flatten(x, 1))


data = Pictures()
loader = DataLoader(data, batch_size=64, shuffle=True)
device = "cuda" if torch.cuda.is_available() else "cpu"
model = (MLP() if job.model == "mlp" else CNN()).to(device)
loss_fn = nn.CrossEntropyLoss()
if job.model == "mlp":
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
else:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)


def training() -> Iterator[torch.Tensor]:
    """Train epoch after epoch; pauses after each step, and gives its loss."""
    size = len(data)
    while True:
        model.train()
        for batch, (X, y) in enumerate(loader):  # noqa: N806 - the tutorial's name
            X, y = X.to(device), y.to(device)  # noqa: N806
            pred = model(X)
            loss = loss_fn(pred, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if batch % 100 == 0:
                value, current = loss.item(), (batch + 1) * len(X)
                print(f"loss: {value:>7f}  [{current:>5d}/{size:>5d}]")
            yield loss


steps = training()


def train(count: int) -> torch.Tensor:
    for _ in range(count):
        loss = next(steps)
    return loss


take_turns(
    channel=job.channel,
    parameters=sum(parameter.numel() for parameter in model.parameters()),
    calls=repeat(job.steps),
    train=train,
    synchronize=torch.Tensor.item,
)
