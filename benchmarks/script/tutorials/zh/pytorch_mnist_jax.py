# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["jax~=0.10.2", "flax~=0.12.8", "optax~=0.2.8", "numpy>=2", "torchvision"]
# ///
"""The CNN of PyTorch's MNIST example, without its dropout, and with Adam in place of Adadelta.

JAX (jit). 运行方法：uv run pytorch_mnist_jax.py [数据文件夹]
"""

import os
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import serialization
from torchvision import datasets

THREADS = 1
SEED = 1
EPOCHS = 14
BATCH_SIZE = 64
LEARNING_RATE = 0.001
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "data"

if hasattr(os, "sched_setaffinity"):
    # 调优：JAX 开始工作时，为每个可用的处理器开一个线程
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])

# 1. 数据
train_set, test_set = (datasets.MNIST(FOLDER, train=part, download=True) for part in (True, False))
train_x, test_x = (
    part.data.numpy()[:, None].astype(np.float32) / 255 for part in (train_set, test_set)
)
train_y, test_y = (part.targets.numpy() for part in (train_set, test_set))

MEAN = np.array([0.1307], np.float32)[:, None, None]
STD = np.array([0.3081], np.float32)[:, None, None]
train_x, test_x = ((x - MEAN) / STD for x in (train_x, test_x))

# JAX 的通道在最后
train_x, test_x = train_x.transpose(0, 2, 3, 1), test_x.transpose(0, 2, 3, 1)
train_x, test_x = jax.device_put((train_x, test_x))
train_y, test_y = jax.device_put((train_y.astype(np.int32), test_y.astype(np.int32)))


# 2. 模型
class Network(nn.Module):
    """依次排列的各层。"""

    @nn.compact
    def __call__(self, x):
        """为每张图片的每个类别返回一个值。"""
        x = nn.Conv(32, (3, 3), padding=0)(x)
        x = nn.relu(x)
        x = nn.Conv(64, (3, 3), padding=0)(x)
        x = nn.relu(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        x = nn.Dense(128)(x)
        x = nn.relu(x)
        x = nn.Dense(10)(x)
        return x


model = Network()
variables = model.init(jax.random.key(SEED), train_x[:1])

# 每一步的学习率
steps = np.arange(13132)
t = steps
factors = 0.7 ** (t // 938).astype(float)
rates = (LEARNING_RATE * factors).astype(np.float32)
table = jnp.asarray(rates)


def rate(count):
    """返回某一步的学习率。"""
    return table[count]


# 3. 训练
optimizer = optax.adam(rate, 0.9, 0.999, 1e-08)
state = optimizer.init(variables["params"])


def mean_loss(outputs, y):
    """返回一个批次的平均损失。"""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()


def update(variables, state, x, y, rows):
    """用这些行的样本训练一步。"""

    def loss_of(params):
        return mean_loss(model.apply({"params": params}, x[rows]), y[rows])

    loss, gradients = jax.value_and_grad(loss_of)(variables["params"])
    updates, state = optimizer.update(gradients, state, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    return {"params": params}, state, loss


step = jax.jit(update, donate_argnums=(0, 1))


@jax.jit
def predict(variables, x):
    """为每张图片的每个类别返回一个值。"""
    return model.apply(variables, x)


def test():
    """返回测试图片中预测正确的比例。"""
    return float((predict(variables, test_x).argmax(1) == test_y).mean())


random = np.random.default_rng(SEED)
for epoch in range(EPOCHS):
    begin = time.perf_counter()
    rows = random.permutation(len(train_x)).astype(np.int32)
    losses = []
    for first in range(0, len(rows), BATCH_SIZE):
        batch = rows[first : first + BATCH_SIZE]
        variables, state, loss = step(variables, state, train_x, train_y, batch)
        losses.append(loss)
    losses = jax.device_get(losses)
    seconds = time.perf_counter() - begin
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, accuracy {test():.2%}, {seconds:.1f} s")

# 4. 保存、加载并使用模型
with open("pytorch_mnist.msgpack", "wb") as file:
    file.write(serialization.to_bytes(variables))
with open("pytorch_mnist.msgpack", "rb") as file:
    loaded = serialization.from_bytes(variables, file.read())
shares = jax.nn.softmax(predict(loaded, test_x[:1]))[0]
print(f"first test picture: class {shares.argmax()} ({shares.max():.1%} sure), right: {test_y[0]}")

# 5. 预热后的训练速度：继续训练，取 20 个时间窗口的中位数
batches = np.stack([random.permutation(len(train_x))[:BATCH_SIZE] for _ in range(50)]).astype(
    np.int32
)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        variables, state, loss = step(variables, state, train_x, train_y, batch)
    jax.block_until_ready(variables)
    rates_per_second.append(batches.size / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
