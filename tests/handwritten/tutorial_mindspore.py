"""The loop of MindSpore's beginners' tutorial: a data set with mapped transforms, a print every 100 batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import mindspore
import numpy as np
from mindspore import nn
from mindspore.dataset import GeneratorDataset, transforms, vision

from tests.handwritten.turns import as_pictures, asked, take_turns

job = asked()
if job.model == "cnn":
    # Not the tutorial's, but without it its convolutions are over ten times slower still.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


class Pictures:
    """Pictures and labels, as MnistDataset gives them: uint8 [height, width, 1], int32."""

    def __init__(self) -> None:
        self.data = np.ascontiguousarray(as_pictures(np.load(job.features)).transpose(0, 2, 3, 1))
        self.targets = np.load(job.labels)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index], self.targets[index]


def datapipe(batch_size: int) -> Any:
    image_transforms = [
        vision.Rescale(1.0 / 255.0, 0),
        vision.Normalize(mean=(0.1307,), std=(0.3081,)),
        vision.HWC2CHW(),
    ]
    label_transform = transforms.TypeCast(mindspore.int32)
    dataset = GeneratorDataset(Pictures(), ["image", "label"], shuffle=True)
    dataset = dataset.map(image_transforms, "image")
    dataset = dataset.map(label_transform, "label")
    return dataset.batch(batch_size)


class MLP(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.dense_relu_sequential = nn.SequentialCell(
            nn.Dense(28 * 28, 512),
            nn.ReLU(),
            nn.Dense(512, 512),
            nn.ReLU(),
            nn.Dense(512, 10),
        )

    def construct(self, x: Any) -> Any:
        return self.dense_relu_sequential(self.flatten(x))


class CNN(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, pad_mode="pad", padding=1, has_bias=True)
        self.conv2 = nn.Conv2d(16, 32, 3, pad_mode="pad", padding=1, has_bias=True)
        self.relu = nn.ReLU()
        self.max_pool = nn.MaxPool2d(2, 2)
        self.avg_pool = nn.AvgPool2d(2, 2)
        self.flatten = nn.Flatten()
        self.fc = nn.Dense(32 * 2 * 2, 10)

    def construct(self, x: Any) -> Any:
        x = self.max_pool(self.relu(self.conv1(x)))
        x = self.avg_pool(self.relu(self.conv2(x)))
        return self.fc(self.flatten(x))


dataset = datapipe(64)
model = MLP() if job.model == "mlp" else CNN()
loss_fn = nn.CrossEntropyLoss()
if job.model == "mlp":
    optimizer = nn.SGD(model.trainable_params(), 0.01)
else:
    optimizer = nn.SGD(model.trainable_params(), 0.1, momentum=0.5)


def forward_fn(data: Any, label: Any) -> Any:
    logits = model(data)
    return loss_fn(logits, label), logits


grad_fn = mindspore.value_and_grad(forward_fn, None, optimizer.parameters, has_aux=True)


def train_step(data: Any, label: Any) -> Any:
    (loss, _), grads = grad_fn(data, label)
    optimizer(grads)
    return loss


def training() -> Iterator[Any]:
    """Train epoch after epoch; pauses after each step, and gives its loss."""
    size = dataset.get_dataset_size()
    model.set_train()
    while True:
        for batch, (data, label) in enumerate(dataset.create_tuple_iterator()):
            loss = train_step(data, label)
            if batch % 100 == 0:
                print(f"loss: {float(loss.asnumpy()):>7f}  [{batch:>3d}/{size:>3d}]")
            yield loss


steps = training()


def train(count: int) -> Any:
    for _ in range(count):
        loss = next(steps)
    return loss


take_turns(
    channel=job.channel,
    parameters=sum(parameter.size for parameter in optimizer.parameters),
    calls=repeat(job.steps),
    train=train,
    synchronize=lambda loss: float(loss.asnumpy()),
)
