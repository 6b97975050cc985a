# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "numpy>=2"]
# ///
"""The tutorial's line in its concise form: y = 2 a - 3.14 b + 4.2, mean squared error.

PyTorch (eager). Run it with: uv run linear_regression_concise_pytorch.py
"""

import os
import statistics
import time

import numpy as np
import torch
from torch import nn

THREADS = 1
SEED = 1
EPOCHS = 3
BATCH_SIZE = 10
LEARNING_RATE = 0.03

if hasattr(os, "sched_setaffinity"):  # tuning: as many processors as threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
torch.set_num_threads(THREADS)
torch.manual_seed(SEED)


# 1. The data
def line(stream, samples):
    """Points of a line, with a little noise: y = x . weights + bias."""
    random = np.random.default_rng([0, stream])
    x = random.standard_normal((samples, 2)).astype(np.float32)
    y = (x * np.array([2.0, -3.14])).sum(axis=1) + 4.2
    y += 0.01 * random.standard_normal(samples)
    return x, y.astype(np.float32)[:, None]


train_x, train_y = line(1, 1000)
test_x, test_y = line(2, 200)

train_x, test_x = torch.from_numpy(train_x), torch.from_numpy(test_x)
train_y, test_y = torch.from_numpy(train_y), torch.from_numpy(test_y)


# 2. The model
class Network(nn.Module):
    """The layers one after the other."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 1),
        )

    def forward(self, x):
        """Return the prediction for each sample."""
        return self.layers(x)


model = Network()
loss_function = nn.MSELoss()

# 3. Training
optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, fused=True)


def loss_of(x, y):
    """Return the mean loss of a batch."""
    return loss_function(model(x), y)


def step(rows):
    """Train on the samples of these rows; return their mean loss."""
    loss = loss_of(train_x.index_select(0, rows), train_y.index_select(0, rows))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def test():
    """Return the mean squared error on the test samples."""
    model.eval()
    outputs = model(test_x)
    model.train()
    return loss_function(outputs, test_y).item()


for epoch in range(EPOCHS):
    begin = time.perf_counter()
    rows = torch.randperm(len(train_x)).split(BATCH_SIZE)
    losses = [step(batch) for batch in rows]
    seconds = time.perf_counter() - begin
    print(
        f"epoch {epoch + 1}: loss {np.mean(losses):.6f}, test error {test():.6f}, {seconds:.1f} s"
    )

# 4. Save the model, load it, and use it
torch.save(model.state_dict(), "linear_regression_concise.pt")
loaded = Network()
loaded.load_state_dict(torch.load("linear_regression_concise.pt"))
loaded.eval()
with torch.no_grad():
    prediction = loaded(test_x[:1])[0, 0]
print(f"first test sample: {prediction:.4f}, right: {test_y[0, 0]:.4f}")

# 5. How fast it trains once it is warm: the median of 20 windows, in which it trains on
batches = torch.randperm(train_x.shape[0])[: 100 * BATCH_SIZE].split(BATCH_SIZE)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        step(batch)
    rates_per_second.append(len(batches) * BATCH_SIZE / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
