#!/usr/bin/env bash
# Expected: NaN goes through a network to its loss, so that a training that diverged shows it, as with NumPy.
# Is: MindSpore 2.10.0 on the CPU turns NaN into 0 in ReLU and leaves it out in max pooling; a network whose first layer is
# all NaN has a finite loss, as if it had no input. NumPy's maximum and max give NaN.
# Matters: whoever looks at losses only takes a training that diverged for a good one; lockstep looks at weights, too.
# 2026-11-27: ReLU([1, nan, -1]) is [1, 0, 0], max pool of 1, nan, 2, 3 is 3, loss with NaN weights .693; NumPy nan, nan
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
print("mindspore", ms.__version__)
values = np.array([1, np.nan, -1], np.float32)
image = np.array([[1, np.nan], [2, 3]], np.float32)
relu = nn.ReLU()(Tensor(values)).asnumpy()
pooled = nn.MaxPool2d(2, 2)(Tensor(image[None, None])).asnumpy().item()
print("ReLU", relu, "NumPy", np.maximum(values, 0), "max pool", pooled, "NumPy", image.max())

network = nn.SequentialCell(nn.Dense(4, 3, weight_init="ones"), nn.ReLU(), nn.Dense(3, 2, bias_init="zeros"))
labels, cross_entropy = Tensor([0, 1], ms.int32), nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
for weights in (1, np.nan):
    network[0].weight.set_data(Tensor(np.full((3, 4), weights, np.float32)))
    loss = float(cross_entropy(network(Tensor(np.ones((2, 4), np.float32))), labels).asnumpy())
    print("weights of the first layer", weights, "loss", loss)
assert relu.tolist() == [1, 0, 0] and pooled == 3 and np.isnan(np.maximum(values, 0)[1]) and np.isnan(image.max())
assert np.isfinite(loss) and np.isnan(network[0].weight.asnumpy()).all()
END
venv/bin/python finding.py
