"""A step of the digits CNN in PyTorch and float64, which the reference is compared with; no part of lockstep.

Runs in PyTorch's environment, on one thread: ``python pytorch_float64.py STEPS``; prints the seconds of each step.
"""

import sys
import time

import torch
from torch import nn

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
model = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
    *(nn.Flatten(), nn.Linear(128, 10)),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
features, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
for _ in range(int(sys.argv[1])):
    begin = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(features), labels).backward()
    optimizer.step()
    print(time.perf_counter() - begin)
