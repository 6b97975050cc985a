#!/usr/bin/env bash
# Expected: a framework either keeps subnormal numbers or makes 0 of them, always.
# Is: with MindSpore 2.10.0 on the CPU it depends on the thread that runs a kernel, and so on the mode and on the step: the
# same optimizer makes 0 of a subnormal update in its first eager step and keeps it in later ones; in a compiled loop,
# it makes 0 of it in every step. The arithmetic is the same; some threads have the processor's flag set to flush.
# Matters: weights that decay end elsewhere in the two modes; lockstep tries it in the mode's own way, in a second step.
# 2026-11-28: updates of 2^-136: eager 0, 1, 1, 1 of them taken; in a compiled loop of 4 steps none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python mindspore==2.10.0 numpy==1.26.4
cat > finding.py <<'END'
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

ms.set_device("CPU")
SMALLEST = np.float32(2.0**-126)
update = SMALLEST / 1024
gradient = Tensor(np.full(1, update, np.float32))


def new_weight():
    weight = ms.Parameter(Tensor(np.full(1, SMALLEST * 2, np.float32)), name="weight")
    return weight, nn.Momentum([weight], learning_rate=1.0, momentum=0.0)


def taken(weight):
    return round(float((2 * np.float64(SMALLEST) - np.float64(weight.asnumpy()[0])) / np.float64(update)))


weight, optimizer = new_weight()
eager = []
for _ in range(4):
    optimizer((gradient,))
    eager.append(taken(weight))
weight, optimizer = new_weight()


@ms.jit
def loop(gradient):
    i = Tensor(0, ms.int32)
    while i < 4:
        optimizer((gradient,))
        i = i + 1
    return i


loop(gradient)
print("mindspore", ms.__version__, "subnormal updates taken: eager, step by step", eager, "compiled loop of 4", taken(weight))
assert eager == [0, 1, 2, 3] and taken(weight) == 0
END
venv/bin/python finding.py
