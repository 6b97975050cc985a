#!/usr/bin/env bash
# Expected: weight_decay=.5 acts on each parameter that the optimizer is given, as in torch.optim.SGD.
# Is: MindSpore 2.10.0 leaves it off where "gamma" or "beta" is in the name, wherever in it, whatever the parameter is; the
# documentation says so in one sentence (on groups of parameters). With a group of all of them, it acts on each.
# Matters: the same layer under another name is another training. The backend names parameters "0.weight", "0.bias", ...
# 2026-11-27: weight 1, gradient 2, lr .1: kernel .75; mygamma2, beta.weight, alphabeta .8; alphabeta in a group .75
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


def step(optimizer, name, grouped=False):
    weight = Parameter(Tensor(1.0, ms.float32), name=name)
    given = [{"params": [weight], "weight_decay": 0.5}] if grouped else [weight]
    optimizer(given, learning_rate=0.1, momentum=0.9, weight_decay=0.5)((Tensor(2.0, ms.float32),))
    return float(weight.asnumpy())


decayed, not_decayed = 1 - 0.1 * (2 + 0.5), 1 - 0.1 * 2
for optimizer in (nn.SGD, nn.Momentum):
    for name in ("kernel", "mygamma2", "beta.weight", "alphabeta"):
        weight = step(optimizer, name)
        print(optimizer.__name__, name, weight)
        assert abs(weight - (decayed if name == "kernel" else not_decayed)) < 1e-6
    grouped = step(optimizer, "alphabeta", grouped=True)
    print(optimizer.__name__, "alphabeta in a group", grouped)
    assert abs(grouped - decayed) < 1e-6
END
venv/bin/python finding.py
