#!/usr/bin/env bash
# Expected: launch_blocking() makes MindSpore slower, as its documentation says.
# Is: where a process has one processor, MindSpore 2.10.0's PyNative trains a small CNN several times faster with it: the
# threads of the pipeline that it turns off spin while they wait, on the processor that the kernels need.
# Matters: in a container of one core, a loop that leaves the pipeline on is slower by that much than lockstep's.
# 2026-11-27 (2-core AMD EPYC, held to one): 63 ms per step as it comes, 12 ms with launch_blocking()
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python mindspore==2.10.0 numpy==1.26.4
cat > finding.py <<'END'
import os
import subprocess
import sys
import time

if len(sys.argv) == 1:
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # on AVX-512, the convolutions would be slower than the pipeline
    runs = [[sys.executable, __file__, way] for way in ("pipeline", "blocking")]
    pipeline, blocking = (min(float(subprocess.check_output(run).split()[-1]) for _ in range(2)) for run in runs)
    print(f"mindspore 2.10.0, per step: as it comes {pipeline:.1f} ms, launch_blocking() {blocking:.1f} ms")
    assert pipeline > 2 * blocking
    sys.exit()

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import mindspore as ms  # noqa: E402
from mindspore import nn, ops  # noqa: E402

ms.set_device("CPU")
if sys.argv[1] == "blocking":
    ms.runtime.launch_blocking()
layers = nn.Conv2d(1, 16, 3, has_bias=True), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Flatten(), nn.Dense(256, 10)
network, cross_entropy = nn.SequentialCell(*layers), nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
optimizer = nn.SGD(network.trainable_params(), 0.01)
images, labels = ops.ones((64, 1, 8, 8), ms.float32), ops.zeros(64, ms.int32)
gradient = ms.grad(lambda x, y: cross_entropy(network(x), y), None, optimizer.parameters)
for steps in (3, 30):
    start = time.perf_counter()
    for _ in range(steps):
        optimizer(gradient(images, labels))
    for parameter in optimizer.parameters:
        parameter.asnumpy()
print((time.perf_counter() - start) / steps * 1e3)
END
venv/bin/python finding.py
