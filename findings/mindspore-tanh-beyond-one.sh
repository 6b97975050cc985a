#!/usr/bin/env bash
# Expected: tanh and exp in float32 right to some units in the last place (ulp), and tanh never beyond 1.
# Is: MindSpore 2.10.0 on the CPU is off by up to 1688, its tanh goes beyond 1; torch 2.15.0, jax 0.10.2, numpy 2.4.6 stay
# below 5.
# Matters: a model with tanh can be "not-equivalent" on MindSpore, with no mistake in the experiment or in the backend.
# 2026-11-27: tanh, largest tanh, exp: mindspore 1688 ulp, 1.0000098, 66 ulp; torch .5, 1, .6; jax 4.3, 1, 1; numpy 1.4, 1, 2.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 mindspore
uv pip install --quiet --python mindspore/bin/python mindspore==2.10.0 numpy==1.26.4
uv venv --quiet --python 3.11 others
uv pip install --quiet --python others/bin/python torch==2.15.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > finding.py <<'END'
import importlib
import sys

import numpy as np

x = np.linspace(-10, 10, 400_001, dtype=np.float32)


def largest_error(values, exact):
    return (np.abs(values - exact) / np.spacing(np.abs(exact).astype(np.float32))).max()


def functions(name):
    module = importlib.import_module({"jax": "jax.numpy", "mindspore": "mindspore.ops"}.get(name, name))
    tensor = {"torch": "from_numpy", "jax": "asarray", "numpy": "asarray"}.get(name)
    make = getattr(module, tensor) if tensor else importlib.import_module("mindspore").Tensor
    read = (lambda y: y.asnumpy()) if name == "mindspore" else np.asarray
    return [read(getattr(module, function)(make(x))) for function in ("tanh", "exp")]


for name in sys.argv[1:]:
    tanh, exp = functions(name)
    errors = [largest_error(tanh, np.tanh(x.astype(float))), largest_error(exp, np.exp(x.astype(float)))]
    beyond = np.abs(tanh).max()
    version = importlib.import_module(name).__version__
    print(name, version, f"tanh {errors[0]:.1f} ulp, max {beyond}, exp {errors[1]:.1f} ulp")
    if name == "mindspore":
        assert errors[0] > 500 and errors[1] > 30 and beyond > 1
    else:
        assert max(errors) < 5 and beyond <= 1
END
mindspore/bin/python finding.py mindspore
others/bin/python finding.py torch jax numpy
