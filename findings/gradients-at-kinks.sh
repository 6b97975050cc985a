#!/usr/bin/env bash
# Expected: frameworks take the same derivative where an activation has a kink, as they all do for ReLU at 0.
# Is: torch 2.15.0, jax 0.10.2 and MindSpore 2.10.0 differ in leaky ReLU (slope .1) at 0, ReLU6 at 6 and hard tanh at 1; within
# JAX, jax.nn.relu and jnp.maximum(x, 0) differ, too.
# Matters: zeros are common (an empty pixel, a dead unit), so trainings with such layers part; lockstep has ReLU and tanh.
# 2026-11-27, ReLU, leaky ReLU, ReLU6, hard tanh: torch 0 .1 0 0, jax 0 1 0 1, mindspore 0 .55 1 .5; jnp.maximum .5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 mindspore
uv pip install --quiet --python mindspore/bin/python mindspore==2.10.0 numpy==1.26.4
uv venv --quiet --python 3.11 others
uv pip install --quiet --python others/bin/python torch==2.15.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > others.py <<'END'
import jax
import jax.numpy as jnp
import torch
from torch.nn import functional


def gradient(function, at):
    x = torch.tensor(at, requires_grad=True)
    function(x).backward()
    return x.grad.item()


kinks = {"relu": 0.0, "leaky_relu": 0.0, "relu6": 6.0, "hardtanh": 1.0}
slope = {"leaky_relu": (0.1,)}
in_torch = [gradient(lambda x: getattr(functional, name)(x, *slope.get(name, ())), at) for name, at in kinks.items()]
activation = {name: getattr(jax.nn, name.replace("dt", "d_t")) for name in kinks}
in_jax = [float(jax.grad(lambda x: activation[name](x, *slope.get(name, ())))(at)) for name, at in kinks.items()]
maximum = float(jax.grad(lambda x: jnp.maximum(x, 0))(0.0))
print(*kinks, "torch", torch.__version__, in_torch, "jax", jax.__version__, in_jax, "jnp.maximum", maximum)
assert [round(value, 4) for value in in_torch] == [0, 0.1, 0, 0] and in_jax == [0, 1, 0, 1] and maximum == 0.5
END
others/bin/python others.py
cat > finding.py <<'END'
import mindspore as ms
from mindspore import Tensor, nn

ms.set_device("CPU")
kinks = (nn.ReLU(), 0.0), (nn.LeakyReLU(0.1), 0.0), (nn.ReLU6(), 6.0), (nn.Hardtanh(), 1.0)
found = [round(float(ms.grad(layer)(Tensor([at], ms.float32)).asnumpy()[0]), 4) for layer, at in kinks]
print("mindspore", ms.__version__, found)
assert found == [0, 0.55, 1, 0.5]
END
mindspore/bin/python finding.py
