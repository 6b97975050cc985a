#!/usr/bin/env bash
# Expected: weights that were read with asnumpy() after each step are a record of the training, as np.asarray of a JAX array is.
# Is: with MindSpore 2.10.0, each is a view that the next step of nn.SGD writes through: at the end all of them show the last
# weights. Its documentation tells of shared storage; that the optimizers write there, one learns like this.
# Matters: weights "before" and "after" come out equal, and no test fails. The backend copies what it gives away.
# 2026-11-27: kept with asnumpy() [.512, .512, .512], with copies [.8, .64, .512]; writing 7 into a view sets the parameter to 7
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python mindspore==2.10.0 numpy==1.26.4
cat > finding.py <<'END'
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

ms.set_device("CPU")
weight = Parameter(Tensor([1.0], ms.float32), name="weight")
optimizer = nn.SGD([weight], learning_rate=0.1)
gradient = ms.grad(lambda: (weight * weight).sum(), None, [weight])
views, copies = [], []
for _ in range(3):
    optimizer(gradient())
    views.append(weight.asnumpy())
    copies.append(np.array(weight.asnumpy()))
kept, copied = np.concatenate(views), np.concatenate(copies)
views[0][:] = 7
written = float((weight + 0).asnumpy()[0])
print("mindspore", ms.__version__, "kept with asnumpy()", kept, "with copies", copied, "after writing 7 into a view", written)
assert np.allclose(copied, [0.8, 0.64, 0.512]) and (kept == copied[-1]).all() and written == 7
END
venv/bin/python finding.py
