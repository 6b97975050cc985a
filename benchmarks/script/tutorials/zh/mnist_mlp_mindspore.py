# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mindspore~=2.10.0", "numpy<2"]
# ///
"""The MindSpore tutorial's 784-512-512-10 on MNIST.

MindSpore (pynative). 运行方法：uv run mnist_mlp_mindspore.py [数据文件夹]
"""

import os
import statistics
import sys
import time

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, nn, ops

THREADS = 1
SEED = 1
EPOCHS = 3
BATCH_SIZE = 64
LEARNING_RATE = 0.01
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "data"

if hasattr(os, "sched_setaffinity"):  # 调优：线程数与处理器数相同
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
ms.set_device("CPU")
ms.device_context.cpu.op_tuning.threads_num(THREADS)  # 调优
if THREADS <= 2:
    ms.runtime.launch_blocking()  # 调优：等待的线程会占用处理器
ms.set_seed(SEED)


# 1. 数据
# MindSpore 不会下载：文件必须已在文件夹中
def read(usage):
    """以 NumPy 数组返回一个部分的全部图片和标签。"""
    samples = ds.MnistDataset(f"{FOLDER}/MNIST/raw", usage, shuffle=False)
    images, labels = next(samples.batch(len(samples)).create_tuple_iterator(output_numpy=True))
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255, labels


train_x, train_y = read("train")
test_x, test_y = read("test")

MEAN = np.array([0.1307], np.float32)[:, None, None]
STD = np.array([0.3081], np.float32)[:, None, None]
train_x, test_x = ((x - MEAN) / STD for x in (train_x, test_x))

train_y, test_y = train_y.astype(np.int32), test_y.astype(np.int32)
train_x, train_y, test_x = Tensor(train_x), Tensor(train_y), Tensor(test_x)


# 2. 模型
class Network(nn.Cell):
    """依次排列的各层。"""

    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(
            nn.Flatten(),
            nn.Dense(784, 512),
            nn.ReLU(),
            nn.Dense(512, 512),
            nn.ReLU(),
            nn.Dense(512, 10),
        )

    def construct(self, x):
        """为每张图片的每个类别返回一个值。"""
        return self.layers(x)


model = Network()
loss_function = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")

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
    """返回测试图片中预测正确的比例。"""
    model.set_train(False)
    outputs = np.concatenate([model(x).asnumpy() for x in test_x.split(1000)])
    model.set_train()
    return (outputs.argmax(1) == test_y).mean()


model.set_train()
random = np.random.default_rng(SEED)
for epoch in range(EPOCHS):
    begin = time.perf_counter()
    rows = random.permutation(len(train_x)).astype(np.int32)
    batches = np.split(rows, range(BATCH_SIZE, len(rows), BATCH_SIZE))
    losses = [step(Tensor(batch)) for batch in batches]
    losses = [loss.item() for loss in losses]
    seconds = time.perf_counter() - begin
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, accuracy {test():.2%}, {seconds:.1f} s")

# 4. 保存、加载并使用模型
ms.save_checkpoint(model, "mnist_mlp.ckpt")
loaded = Network()
ms.load_param_into_net(loaded, ms.load_checkpoint("mnist_mlp.ckpt"))
loaded.set_train(False)
shares = ops.softmax(loaded(test_x[:1]))[0].asnumpy()
print(f"first test picture: class {shares.argmax()} ({shares.max():.1%} sure), right: {test_y[0]}")

# 5. 预热后的训练速度：继续训练，取 20 个时间窗口的中位数
batches = np.stack([random.permutation(len(train_x))[:BATCH_SIZE] for _ in range(50)]).astype(
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
