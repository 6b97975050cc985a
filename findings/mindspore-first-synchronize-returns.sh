#!/usr/bin/env bash
# Expected: mindspore.runtime.synchronize() waits for the work that was launched; or never, as its documentation names no CPU.
# Is: with MindSpore 2.10.0 on the CPU, the first call of a process logs that CPU is not supported, and returns at once, with
# work still to be done; every later call waits for all of it.
# Matters: a clock stopped after it is wrong once, and then right. The backend reads every parameter, which always waits.
# 2026-11-27 (2-core AMD EPYC), call, then reading: first .0004 s, 1.3 s; second 1.3 s, .0002 s; third likewise
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python mindspore==2.10.0 numpy==1.26.4
cat > finding.py <<'END'
import time

import mindspore as ms
from mindspore import ops

ms.set_device("CPU")
matrix = ops.ones((1500, 1500), ms.float32) / 1500
(matrix @ matrix).asnumpy()  # the first use of an operator takes longer


def measure():
    product = matrix
    for _ in range(10):
        product = product @ matrix
    start = time.perf_counter()
    ms.runtime.synchronize()
    middle = time.perf_counter()
    product.asnumpy()
    return middle - start, time.perf_counter() - middle


found = [measure() for _ in range(3)]
for number, (synchronize, read) in enumerate(found, 1):
    print(f"mindspore {ms.__version__} call {number}: synchronize() {synchronize:.4f} s, then reading {read:.4f} s")
assert found[0][1] > 10 * found[0][0]
assert all(synchronize > 10 * read for synchronize, read in found[1:])
END
venv/bin/python finding.py
