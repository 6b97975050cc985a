#!/usr/bin/env bash
# Expected: the cross-entropy of logits is as large as they are apart: 90 for logits 0 and 90, where the first is right.
# Is: MindSpore 2.10.0's SoftmaxCrossEntropyWithLogits gives inf on the CPU where they are more than 88 apart; its
# CrossEntropyLoss gives 90. The gradients of both are those of the finite loss.
# Matters: a training whose losses are that large for a few steps is "diverged" with it, and goes on in other frameworks.
# 2026-11-28: apart by 80: 80.00002 and 80.0; by 90: inf and 90.0; gradient -1 and 1 with both
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
right = Tensor(np.array([0], np.int32))
found = {}
for loss in (nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean"), nn.CrossEntropyLoss()):
    for apart in (80, 90):
        logits = Tensor(np.array([[0, apart]], np.float32))
        value, gradient = ms.value_and_grad(loss, 0)(logits, right)
        found[type(loss).__name__, apart] = float(value.asnumpy())
        print("mindspore", ms.__version__, type(loss).__name__, apart, value.asnumpy(), "gradient", gradient.asnumpy())
        assert np.array_equal(gradient.asnumpy(), [[-1, 1]])
assert np.isinf(found["SoftmaxCrossEntropyWithLogits", 90]) and found["CrossEntropyLoss", 90] == 90
END
venv/bin/python finding.py
