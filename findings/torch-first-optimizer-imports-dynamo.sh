#!/usr/bin/env bash
# Expected: "import torch" loads what eager training needs, and to make an optimizer for three numbers takes no time.
# Is: with torch 2.15.0, the first optimizer of a process imports torch._dynamo, the compiler that eager training never uses:
# some 900 modules more, for longer than the import of torch itself; the second one takes microseconds.
# Matters: who times the building of a model, or the start of a short run, times this; the backend imports it with torch.
# 2026-11-27: import torch 5.9 s of processor time, 1172 modules; first optimizer 7.7 s, 908 more; second one .0001 s
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python torch==2.15.0 numpy==2.4.6
cat > finding.py <<'END'
import sys
import time


def measure(name, call):
    before, start = len(sys.modules), time.process_time()
    result = call()
    seconds = time.process_time() - start
    print(f"{name}: {seconds:.5f} s of processor time, {len(sys.modules) - before} modules")
    return result, seconds


torch, imported = measure("import torch", lambda: __import__("torch"))
print("torch", torch.__version__)
assert "torch._dynamo" not in sys.modules
parameters = [torch.nn.Parameter(torch.zeros(3))]
_, first = measure("first optimizer", lambda: torch.optim.SGD(parameters, lr=0.1))
assert "torch._dynamo" in sys.modules
_, second = measure("second optimizer", lambda: torch.optim.SGD(parameters, lr=0.1))
assert first > imported / 5 and first > 100 * second
END
venv/bin/python finding.py
