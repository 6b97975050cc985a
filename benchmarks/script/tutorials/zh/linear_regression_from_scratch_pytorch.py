# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "numpy>=2"]
# ///
"""The tutorial's line written from scratch: its loss has the factor 1/2, hence half the learning rate here.

PyTorch (eager). 运行方法：uv run linear_regression_from_scratch_pytorch.py
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
LEARNING_RATE = 0.015

if hasattr(os, "sched_setaffinity"):  # 调优：线程数与处理器数相同
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
torch.set_num_threads(THREADS)
torch.manual_seed(SEED)


# 1. 数据
def line(stream, samples):
    """一条直线上带少量噪声的点：y = x . weights + bias。"""
    random = np.random.default_rng([0, stream])
    x = random.standard_normal((samples, 2)).astype(np.float32)
    y = (x * np.array([2.0, -3.4])).sum(axis=1) + 4.2
    y += 0.01 * random.standard_normal(samples)
    return x, y.astype(np.float32)[:, None]


train_x, train_y = line(1, 1000)
test_x, test_y = line(2, 200)

train_x, test_x = torch.from_numpy(train_x), torch.from_numpy(test_x)
train_y, test_y = torch.from_numpy(train_y), torch.from_numpy(test_y)


# 2. 模型
class Network(nn.Module):
    """依次排列的各层。"""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 1),
        )

    def forward(self, x):
        """返回每个样本的预测值。"""
        return self.layers(x)


model = Network()
for layer in model.modules():  # PyTorch 默认的初始值与此不同
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
loss_function = nn.MSELoss()

# 3. 训练
optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, fused=True)


def loss_of(x, y):
    """返回一个批次的平均损失。"""
    return loss_function(model(x), y)


def step(rows):
    """用这些行的样本训练一步，返回平均损失。"""
    loss = loss_of(train_x.index_select(0, rows), train_y.index_select(0, rows))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def test():
    """返回测试样本上的均方误差。"""
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

# 4. 保存、加载并使用模型
torch.save(model.state_dict(), "linear_regression_from_scratch.pt")
loaded = Network()
loaded.load_state_dict(torch.load("linear_regression_from_scratch.pt"))
loaded.eval()
with torch.no_grad():
    prediction = loaded(test_x[:1])[0, 0]
print(f"first test sample: {prediction:.4f}, right: {test_y[0, 0]:.4f}")

# 5. 预热后的训练速度：继续训练，取 20 个时间窗口的中位数
batches = torch.randperm(train_x.shape[0])[: 100 * BATCH_SIZE].split(BATCH_SIZE)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        step(batch)
    rates_per_second.append(len(batches) * BATCH_SIZE / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
