#!/usr/bin/env bash
# Expected: nn.Adam does what its documentation's formula says, w -= lr m' / (sqrt(v') + eps) with m' and v' corrected for bias.
# Is: MindSpore 2.10.0 on the CPU divides m' by sqrt(v') + eps / sqrt(1 - beta2^t): in the first step, with the default beta2 of
# .999, eps counts 32 times. torch 2.15.0 and optax 0.2.8 do what the formula says.
# Matters: lockstep trains with SGD. Whoever adds Adam to a backend cannot have equal trainings without a way around this.
# 2026-11-27 (lr 1, eps 1, gradient .5, one step from 0): mindspore -.01557, torch -.33333, optax -.33333; formula -1/3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 mindspore
uv pip install --quiet --python mindspore/bin/python mindspore==2.10.0 numpy==1.26.4
uv venv --quiet --python 3.11 others
uv pip install --quiet --python others/bin/python torch==2.15.0 jax==0.10.2 jaxlib==0.10.2 optax==0.2.8 numpy==2.4.6
cat > finding.py <<'END'
import mindspore as ms
from mindspore import Parameter, Tensor, nn

ms.set_device("CPU")
weight = Parameter(Tensor(0.0, ms.float32), name="weight")
nn.Adam([weight], learning_rate=1.0, eps=1.0)((Tensor(0.5, ms.float32),))
step, corrected = float(weight.asnumpy()), -0.5 / (0.5 + 1 / (1 - 0.999) ** 0.5)
print("mindspore", ms.__version__, step, "with eps / sqrt(1 - beta2)", corrected)
assert abs(step - corrected) < 1e-4
END
GLOG_v=3 mindspore/bin/python finding.py  # without its warnings of what is deprecated
cat > others.py <<'END'
import jax.numpy as jnp
import optax
import torch

weight = torch.zeros((), requires_grad=True)
weight.grad = torch.tensor(0.5)
torch.optim.Adam([weight], lr=1.0, eps=1.0).step()
adam = optax.adam(1.0, eps=1.0)
update, _ = adam.update(jnp.float32(0.5), adam.init(jnp.float32(0)))
print("torch", torch.__version__, weight.item(), "optax", optax.__version__, float(update))
assert abs(weight.item() + 1 / 3) < 1e-5 and abs(float(update) + 1 / 3) < 1e-5
END
others/bin/python others.py
