#!/usr/bin/env bash
# Expected: features[rows] and features.index_select(0, rows), which give the same batch, take the same time.
# Is: torch 2.15.0 on the CPU takes two to four times as long for features[rows], which goes through the general kernel for
# indexing, where index_select copies whole rows.
# Matters: a hand-written loop that takes its batches with [] is slower than lockstep's, which takes index_select.
# 2026-11-27 (2-core AMD EPYC, one thread, [] / index_select): 256 of 60000 x 784 4.3, 1024 of those 2.2, 1024 of 1797 x 64 3.3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python torch==2.15.0 numpy==2.4.6
cat > finding.py <<'END'
import statistics
import time

import torch

torch.set_num_threads(1)
ratios = []
for samples, width, batch in ((60_000, 784, 256), (60_000, 784, 1024), (1797, 64, 1024)):
    features, seconds = torch.rand(samples, width), ([], [])
    for _ in range(300):
        rows = torch.randint(0, samples, (batch,))
        start = time.perf_counter()
        indexed = features[rows]
        middle = time.perf_counter()
        selected = features.index_select(0, rows)
        end = time.perf_counter()
        seconds[0].append(middle - start)
        seconds[1].append(end - middle)
        assert torch.equal(indexed, selected)
    slow, fast = (statistics.median(times) * 1e6 for times in seconds)
    case = f"torch {torch.__version__} {batch} of {samples} x {width}"
    print(f"{case}: [] {slow:.0f} us, index_select {fast:.0f} us, ratio {slow / fast:.1f}")
    ratios.append(slow / fast)
assert statistics.median(ratios) > 1.5
END
venv/bin/python finding.py
