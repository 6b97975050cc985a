# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mindspore~=2.10.0", "numpy<2"]
# ///
"""The tutorial's line in its concise form: y = 2 a - 3.14 b + 4.2, mean squared error.

MindSpore (pynative). 运行方法：uv run linear_regression_concise_mindspore.py
"""

import os
import statistics
import time

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

THREADS = 1
SEED = 1
EPOCHS = 3
BATCH_SIZE = 10
LEARNING_RATE = 0.03

if hasattr(os, "sched_setaffinity"):  # 调优：线程数与处理器数相同
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
ms.set_device("CPU")
ms.device_context.cpu.op_tuning.threads_num(THREADS)  # 调优
if THREADS <= 2:
    ms.runtime.launch_blocking()  # 调优：等待的线程会占用处理器
ms.set_seed(SEED)


# 1. 数据
def line(stream, samples):
    """一条直线上带少量噪声的点：y = x . weights + bias。"""
    random = np.random.default_rng([0, stream])
    x = random.standard_normal((samples, 2)).astype(np.float32)
    y = (x * np.array([2.0, -3.14])).sum(axis=1) + 4.2
    y += 0.01 * random.standard_normal(samples)
    return x, y.astype(np.float32)[:, None]


train_x, train_y = line(1, 1000)
test_x, test_y = line(2, 200)

train_x, train_y, test_x = Tensor(train_x), Tensor(train_y), Tensor(test_x)


# 2. 模型
class Network(nn.Cell):
    """依次排列的各层。"""

    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(
            nn.Dense(2, 1),
        )

    def construct(self, x):
        """返回每个样本的预测值。"""
        return self.layers(x)


model = Network()
loss_function = nn.MSELoss()

# 3. 训练
# 带动量的 SGD；在 CPU 上它的算子比 nn.SGD 快
optimizer = nn.Momentum(model.trainable_params(), LEARNING_RATE, momentum=0.0)


def loss_of(x, y):
    """返回一个批次的平均损失。"""
    return loss_function(model(x), y)


gradient_of = ms.value_and_grad(loss_of, None, optimizer.parameters)


def step(rows):
    """用这些行的样本训练一步，返回平均损失。"""
    loss, gradients = gradient_of(ops.gather(train_x, rows, 0), ops.gather(train_y, rows, 0))
    optimizer(gradients)
    return loss


def test():
    """返回测试样本上的均方误差。"""
    model.set_train(False)
    outputs = np.concatenate([model(x).asnumpy() for x in test_x.split(1000)])
    model.set_train()
    return ((outputs - test_y) ** 2).mean()


model.set_train()
random = np.random.default_rng(SEED)
for epoch in range(EPOCHS):
    begin = time.perf_counter()
    rows = random.permutation(len(train_x)).astype(np.int32)
    batches = np.split(rows, range(BATCH_SIZE, len(rows), BATCH_SIZE))
    losses = [step(Tensor(batch)) for batch in batches]
    losses = [loss.item() for loss in losses]
    seconds = time.perf_counter() - begin
    print(
        f"epoch {epoch + 1}: loss {np.mean(losses):.6f}, test error {test():.6f}, {seconds:.1f} s"
    )

# 4. 保存、加载并使用模型
ms.save_checkpoint(model, "linear_regression_concise.ckpt")
loaded = Network()
ms.load_param_into_net(loaded, ms.load_checkpoint("linear_regression_concise.ckpt"))
loaded.set_train(False)
prediction = loaded(test_x[:1])[0, 0].item()
print(f"first test sample: {prediction:.4f}, right: {test_y[0, 0]:.4f}")

# 5. 预热后的训练速度：继续训练，取 20 个时间窗口的中位数
batches = np.stack([random.permutation(len(train_x))[:BATCH_SIZE] for _ in range(100)]).astype(
    np.int32
)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        loss = step(Tensor(batch))
    for parameter in model.get_parameters():
        parameter.asnumpy()  # 等待计算完成
    rates_per_second.append(batches.size / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
