#!/usr/bin/env bash
# Expected: t.add_(1) changes t, and mint.optim.SGD(...)(gradients) changes the parameters.
# Is: with MindSpore 2.10.0 in PyNative on the CPU, add_, sub_, mul_ and += return the right values and leave the tensor as
# it was, so that mint.optim.SGD and Adam train nothing, without a word; the same SGD inside ms.jit trains.
# Matters: a loop with mint.optim runs and learns nothing. The backend takes nn.Momentum and nn.SGD, which are right.
# 2026-11-27: [1 1 1] stays in all four; weight 1 after 3 steps: mint SGD 1, mint Adam 1, SGD in jit .512, nn.SGD .512
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python mindspore==2.10.0 numpy==1.26.4
cat > finding.py <<'END'
import operator

import mindspore as ms
from mindspore import Parameter, Tensor, mint, nn

ms.set_device("CPU")
print("mindspore", ms.__version__)
for change, right in [(Tensor.add_, 3), (Tensor.sub_, -1), (Tensor.mul_, 2), (operator.iadd, 3)]:
    tensor = Tensor([1.0, 1.0, 1.0], ms.float32)
    returned = change(tensor, 2.0).asnumpy()
    print(change.__name__, "returned", returned, "kept", tensor.asnumpy())
    assert (returned == right).all() and (tensor.asnumpy() == 1).all()


def train(make, wrap=lambda function: function, **options):
    weight = Parameter(Tensor(1.0, ms.float32), name="weight")
    optimizer = make([weight], **options)

    def loss(x):
        return weight * weight * x

    def step(x):
        optimizer(ms.grad(loss, None, [weight])(x))
        return x

    run = wrap(step)
    for _ in range(3):
        run(Tensor(1.0, ms.float32))
    return float(weight.asnumpy())


sgd, adam = train(mint.optim.SGD, lr=0.1), train(mint.optim.Adam, lr=0.1)
jitted, old = train(mint.optim.SGD, ms.jit, lr=0.1), train(nn.SGD, learning_rate=0.1)
print("weight after 3 steps: mint SGD", sgd, "mint Adam", adam, "mint SGD in jit", jitted, "nn.SGD", old)
assert sgd == adam == 1 and abs(jitted - 0.512) < 1e-5 and abs(old - 0.512) < 1e-5
END
GLOG_v=3 venv/bin/python finding.py  # without its warnings of what is deprecated
