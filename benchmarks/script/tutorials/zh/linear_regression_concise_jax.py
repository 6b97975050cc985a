# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["jax~=0.10.2", "flax~=0.12.8", "optax~=0.2.8", "numpy>=2"]
# ///
"""The tutorial's line in its concise form: y = 2 a - 3.14 b + 4.2, mean squared error.

JAX (jit). 运行方法：uv run linear_regression_concise_jax.py
"""

import os
import statistics
import time

import jax
import numpy as np
import optax
from flax import linen as nn
from flax import serialization

THREADS = 1
SEED = 1
EPOCHS = 3
BATCH_SIZE = 10
LEARNING_RATE = 0.03

if hasattr(os, "sched_setaffinity"):
    # 调优：JAX 开始工作时，为每个可用的处理器开一个线程
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])


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

train_x, test_x = jax.device_put((train_x, test_x))
train_y, test_y = jax.device_put((train_y, test_y))


# 2. 模型
class Network(nn.Module):
    """依次排列的各层。"""

    @nn.compact
    def __call__(self, x):
        """返回每个样本的预测值。"""
        x = nn.Dense(1)(x)
        return x


model = Network()
variables = model.init(jax.random.key(SEED), train_x[:1])

# 3. 训练
optimizer = optax.sgd(LEARNING_RATE)
state = optimizer.init(variables["params"])


def mean_loss(outputs, y):
    """返回一个批次的平均损失。"""
    return optax.squared_error(outputs, y).mean()


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
    """返回预测值。"""
    return model.apply(variables, x)


def test():
    """返回测试样本上的均方误差。"""
    return float(mean_loss(predict(variables, test_x), test_y))


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
    print(
        f"epoch {epoch + 1}: loss {np.mean(losses):.6f}, test error {test():.6f}, {seconds:.1f} s"
    )

# 4. 保存、加载并使用模型
with open("linear_regression_concise.msgpack", "wb") as file:
    file.write(serialization.to_bytes(variables))
with open("linear_regression_concise.msgpack", "rb") as file:
    loaded = serialization.from_bytes(variables, file.read())
prediction = predict(loaded, test_x[:1])[0, 0]
print(f"first test sample: {prediction:.4f}, right: {test_y[0, 0]:.4f}")

# 5. 预热后的训练速度：继续训练，取 20 个时间窗口的中位数
batches = np.stack([random.permutation(len(train_x))[:BATCH_SIZE] for _ in range(100)]).astype(
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
