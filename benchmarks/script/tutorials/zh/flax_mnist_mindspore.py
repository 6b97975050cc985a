# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mindspore~=2.10.0", "numpy<2"]
# ///
"""The CNN of Flax's NNX tutorial on MNIST: 1 200 steps of AdamW, around 99 %.

MindSpore (pynative). 运行方法：uv run flax_mnist_mindspore.py [数据文件夹]
"""

import os
import statistics
import sys
import time

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import TruncatedNormal
from mindspore.experimental import optim

THREADS = 1
SEED = 1
EPOCHS = 1
BATCH_SIZE = 32
LEARNING_RATE = 0.005
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "data"

# 调优：使用 AVX-512 时，oneDNN 计算 MindSpore 的卷积要慢十倍
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
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

# 其余样本留出
train_x, train_y = train_x[:38400], train_y[:38400]

train_y, test_y = train_y.astype(np.int32), test_y.astype(np.int32)
train_x, train_y, test_x = Tensor(train_x), Tensor(train_y), Tensor(test_x)

# 2. 模型
INITIAL = TruncatedNormal()


class Network(nn.Cell):
    """依次排列的各层。"""

    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(
            nn.Conv2d(
                1,
                32,
                3,
                pad_mode="pad",
                padding=1,
                has_bias=True,
                weight_init=INITIAL,
                bias_init="zeros",
            ),
            nn.ReLU(),
            nn.AvgPool2d(2, 2),
            nn.Conv2d(
                32,
                64,
                3,
                pad_mode="pad",
                padding=1,
                has_bias=True,
                weight_init=INITIAL,
                bias_init="zeros",
            ),
            nn.ReLU(),
            nn.AvgPool2d(2, 2),
            nn.Flatten(),
            nn.Dense(3136, 256, weight_init=INITIAL, bias_init="zeros"),
            nn.ReLU(),
            nn.Dense(256, 10, weight_init=INITIAL, bias_init="zeros"),
        )

    def construct(self, x):
        """为每张图片的每个类别返回一个值。"""
        return self.layers(x)


model = Network()
loss_function = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")

# 3. 训练
optimizer = optim.AdamW(
    model.trainable_params(), LEARNING_RATE, (0.9, 0.999), 1e-08, weight_decay=0.0001
)


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
ms.save_checkpoint(model, "flax_mnist.ckpt")
loaded = Network()
ms.load_param_into_net(loaded, ms.load_checkpoint("flax_mnist.ckpt"))
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
