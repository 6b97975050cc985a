#!/usr/bin/env bash
# Expected: nn.Momentum(use_nesterov=True) takes Nesterov's step: its documentation gives the formula, and names the CPU.
# Is: with MindSpore 2.10.0 on the CPU, the option changes nothing, to the bit; nn.SGD(nesterov=True) does what torch does.
# Matters: with nesterov = true, the backend takes nn.SGD; a hand-written loop with nn.Momentum trains another algorithm.
# 2026-11-27: weight after 3 steps: Momentum .06200001, with Nesterov .06200001; SGD .06200001, with Nesterov -.10835198
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python mindspore==2.10.0 numpy==1.26.4
cat > finding.py <<'END'
import mindspore as ms
from mindspore import Parameter, Tensor, nn

ms.set_device("CPU")
print("mindspore", ms.__version__)


def train(make):
    weight = Parameter(Tensor(1.0, ms.float32), name="weight")
    optimizer = make([weight])
    gradient = ms.grad(lambda: weight * weight, None, [weight])
    for _ in range(3):
        optimizer(gradient())
    return float(weight.asnumpy())


def formula(nesterov):  # of torch.optim.SGD, and of both classes' documentation
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        velocity = 0.9 * velocity + 2 * weight
        weight -= 0.1 * (2 * weight + 0.9 * velocity if nesterov else velocity)
    return weight


momentum = [train(lambda p, n=n: nn.Momentum(p, 0.1, 0.9, use_nesterov=n)) for n in (False, True)]
sgd = [train(lambda p, n=n: nn.SGD(p, 0.1, 0.9, nesterov=n)) for n in (False, True)]
right = [formula(n) for n in (False, True)]
print("weight after 3 steps, without and with Nesterov: nn.Momentum", momentum, "nn.SGD", sgd, "formula", right)
assert momentum[0] == momentum[1]
assert all(abs(a - b) < 1e-6 for a, b in zip(sgd, right)) and abs(right[0] - right[1]) > 0.1
END
venv/bin/python finding.py
