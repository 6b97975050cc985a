# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "torchvision~=0.29.2", "numpy>=2"]
# ///
"""The CNN of PyTorch's MNIST example, without its dropout, and with Adam in place of Adadelta.

PyTorch (eager). Run it with: uv run pytorch_mnist_pytorch.py [FOLDER OF THE DATA]
"""

import os
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn
from torchvision import datasets

THREADS = 1
SEED = 1
EPOCHS = 14
BATCH_SIZE = 64
LEARNING_RATE = 0.001
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "data"

if hasattr(os, "sched_setaffinity"):  # tuning: as many processors as threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
torch.set_num_threads(THREADS)
torch.manual_seed(SEED)

# 1. The data
train_set, test_set = (datasets.MNIST(FOLDER, train=part, download=True) for part in (True, False))
train_x, test_x = (
    part.data.numpy()[:, None].astype(np.float32) / 255 for part in (train_set, test_set)
)
train_y, test_y = (part.targets.numpy() for part in (train_set, test_set))

MEAN = np.array([0.1307], np.float32)[:, None, None]
STD = np.array([0.3081], np.float32)[:, None, None]
train_x, test_x = ((x - MEAN) / STD for x in (train_x, test_x))

train_x, test_x = torch.from_numpy(train_x), torch.from_numpy(test_x)
train_y, test_y = torch.from_numpy(train_y), torch.from_numpy(test_y)
# tuning: convolutions are faster with the channels last
train_x = train_x.contiguous(memory_format=torch.channels_last)
test_x = test_x.contiguous(memory_format=torch.channels_last)


# 2. The model
class Network(nn.Module):
    """The layers one after the other."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Flatten(),
            nn.Linear(9216, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    def forward(self, x):
        """Return one value per class for each picture."""
        return self.layers(x)


model = Network()
model = model.to(memory_format=torch.channels_last)  # tuning
loss_function = nn.CrossEntropyLoss()

# The learning rate of each step
steps = np.arange(13132)
t = steps
factors = 0.7 ** (t // 938).astype(float)
rates = (LEARNING_RATE * factors).astype(np.float32)

# 3. Training
optimizer = torch.optim.Adam(
    model.parameters(), LEARNING_RATE, (0.9, 0.999), 1e-08, weight_decay=0.0, fused=True
)


def loss_of(x, y):
    """Return the mean loss of a batch."""
    return loss_function(model(x), y)


def step(rows, rate):
    """Train on the samples of these rows; return their mean loss."""
    loss = loss_of(train_x.index_select(0, rows), train_y.index_select(0, rows))
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = float(rate)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def test():
    """Return the share of the test pictures that the model tells right."""
    model.eval()
    outputs = torch.cat([model(x) for x in test_x.split(1000)])
    model.train()
    return (outputs.argmax(1) == test_y).float().mean().item()


for epoch in range(EPOCHS):
    begin = time.perf_counter()
    rows = torch.randperm(len(train_x)).split(BATCH_SIZE)
    losses = [step(batch, rate) for batch, rate in zip(rows, rates[epoch * len(rows) :])]
    seconds = time.perf_counter() - begin
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, accuracy {test():.2%}, {seconds:.1f} s")

# 4. Save the model, load it, and use it
torch.save(model.state_dict(), "pytorch_mnist.pt")
loaded = Network()
loaded.load_state_dict(torch.load("pytorch_mnist.pt"))
loaded.eval()
with torch.no_grad():
    shares = loaded(test_x[:1]).softmax(1)[0]
print(f"first test picture: class {shares.argmax()} ({shares.max():.1%} sure), right: {test_y[0]}")

# 5. How fast it trains once it is warm: the median of 20 windows, in which it trains on
batches = torch.randperm(train_x.shape[0])[: 50 * BATCH_SIZE].split(BATCH_SIZE)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        step(batch, LEARNING_RATE)
    rates_per_second.append(len(batches) * BATCH_SIZE / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
