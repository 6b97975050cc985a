# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "torchvision~=0.29.2", "numpy>=2"]
# ///
"""The CNN of PyTorch's MNIST example, without its dropout, and with Adam in place of Adadelta.

PyTorch (eager). 运行方法：uv run pytorch_mnist_pytorch.py [数据文件夹]
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

if hasattr(os, "sched_setaffinity"):  # 调优：线程数与处理器数相同
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
torch.set_num_threads(THREADS)
torch.manual_seed(SEED)

# 1. 数据
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
# 调优：通道在后时卷积更快
train_x = train_x.contiguous(memory_format=torch.channels_last)
test_x = test_x.contiguous(memory_format=torch.channels_last)


# 2. 模型
class Network(nn.Module):
    """依次排列的各层。"""

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
        """为每张图片的每个类别返回一个值。"""
        return self.layers(x)


model = Network()
model = model.to(memory_format=torch.channels_last)  # 调优
loss_function = nn.CrossEntropyLoss()

# 每一步的学习率
steps = np.arange(13132)
t = steps
factors = 0.7 ** (t // 938).astype(float)
rates = (LEARNING_RATE * factors).astype(np.float32)

# 3. 训练
optimizer = torch.optim.Adam(
    model.parameters(), LEARNING_RATE, (0.9, 0.999), 1e-08, weight_decay=0.0, fused=True
)


def loss_of(x, y):
    """返回一个批次的平均损失。"""
    return loss_function(model(x), y)


def step(rows, rate):
    """用这些行的样本训练一步，返回平均损失。"""
    loss = loss_of(train_x.index_select(0, rows), train_y.index_select(0, rows))
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = float(rate)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def test():
    """返回测试图片中预测正确的比例。"""
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

# 4. 保存、加载并使用模型
torch.save(model.state_dict(), "pytorch_mnist.pt")
loaded = Network()
loaded.load_state_dict(torch.load("pytorch_mnist.pt"))
loaded.eval()
with torch.no_grad():
    shares = loaded(test_x[:1]).softmax(1)[0]
print(f"first test picture: class {shares.argmax()} ({shares.max():.1%} sure), right: {test_y[0]}")

# 5. 预热后的训练速度：继续训练，取 20 个时间窗口的中位数
batches = torch.randperm(train_x.shape[0])[: 50 * BATCH_SIZE].split(BATCH_SIZE)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        step(batch, LEARNING_RATE)
    rates_per_second.append(len(batches) * BATCH_SIZE / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
