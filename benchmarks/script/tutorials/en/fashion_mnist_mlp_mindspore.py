# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mindspore~=2.10.0", "numpy<2"]
# ///
"""PyTorch's quick start: 784-512-512-10 on Fashion-MNIST, 63 % after 5 epochs.

MindSpore (pynative). Run it with: uv run fashion_mnist_mlp_mindspore.py [FOLDER OF THE DATA]
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
EPOCHS = 5
BATCH_SIZE = 64
LEARNING_RATE = 0.001
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "data"

if hasattr(os, "sched_setaffinity"):  # tuning: as many processors as threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
ms.set_device("CPU")
ms.device_context.cpu.op_tuning.threads_num(THREADS)  # tuning
if THREADS <= 2:
    ms.runtime.launch_blocking()  # tuning: threads that wait would take the processor from the work
ms.set_seed(SEED)


# 1. The data
# MindSpore downloads nothing: the files have to be in the folder
def read(usage):
    """Return all pictures and labels of a part as NumPy arrays."""
    samples = ds.FashionMnistDataset(f"{FOLDER}/FashionMNIST/raw", usage, shuffle=False)
    images, labels = next(samples.batch(len(samples)).create_tuple_iterator(output_numpy=True))
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255, labels


train_x, train_y = read("train")
test_x, test_y = read("test")

train_y, test_y = train_y.astype(np.int32), test_y.astype(np.int32)
train_x, train_y, test_x = Tensor(train_x), Tensor(train_y), Tensor(test_x)


# 2. The model
class Network(nn.Cell):
    """The layers one after the other."""

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
        """Return one value per class for each picture."""
        return self.layers(x)


model = Network()
loss_function = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")

# 3. Training
# SGD with momentum; on the CPU its kernel is faster than that of nn.SGD
optimizer = nn.Momentum(model.trainable_params(), LEARNING_RATE, momentum=0.0)


def loss_of(x, y):
    """Return the mean loss of a batch."""
    return loss_function(model(x), y)


gradient_of = ms.value_and_grad(loss_of, None, optimizer.parameters)


def step(rows):
    """Train on the samples of these rows; return their mean loss."""
    loss, gradients = gradient_of(ops.gather(train_x, rows, 0), ops.gather(train_y, rows, 0))
    optimizer(gradients)
    return loss


def test():
    """Return the share of the test pictures that the model tells right."""
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

# 4. Save the model, load it, and use it
ms.save_checkpoint(model, "fashion_mnist_mlp.ckpt")
loaded = Network()
ms.load_param_into_net(loaded, ms.load_checkpoint("fashion_mnist_mlp.ckpt"))
loaded.set_train(False)
shares = ops.softmax(loaded(test_x[:1]))[0].asnumpy()
print(f"first test picture: class {shares.argmax()} ({shares.max():.1%} sure), right: {test_y[0]}")

# 5. How fast it trains once it is warm: the median of 20 windows, in which it trains on
batches = np.stack([random.permutation(len(train_x))[:BATCH_SIZE] for _ in range(50)]).astype(
    np.int32
)
rates_per_second = []
for _ in range(25):
    begin = time.perf_counter()
    for batch in batches:
        loss = step(Tensor(batch))
    for parameter in model.get_parameters():
        parameter.asnumpy()  # waits for the work
    rates_per_second.append(batches.size / (time.perf_counter() - begin))
print(f"{statistics.median(rates_per_second[5:]):,.0f} samples/s")
