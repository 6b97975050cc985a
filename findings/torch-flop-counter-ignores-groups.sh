#!/usr/bin/env bash
# Expected: torch.utils.flop_counter counts what a convolution's backward pass takes: as much for its weights as forward.
# Is: torch 2.15.0 counts the weight gradient of a grouped convolution `groups` times: of a depthwise one with 16 channels, 16
# times. The gradient of the input, and the forward pass, are right.
# Matters: utilization from this count is too high for MobileNet and its like; lockstep counts from the layers.
# 2026-11-28: 16 channels, groups 1, 4, 16: weight gradient / forward = 1, 4, 16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python torch==2.15.0 numpy==2.4.6
cat > finding.py <<'END'
import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

print("torch", torch.__version__)


def count(function):
    with FlopCounterMode(display=False) as counter:
        result = function()
    return counter.get_total_flops(), result


x = torch.ones(5, 16, 8, 8)
for groups in (1, 4, 16):
    weight = torch.ones(16, 16 // groups, 3, 3, requires_grad=True)
    forward, y = count(lambda: conv2d(x, weight, padding=1, groups=groups))
    backward, _ = count(lambda: y.sum().backward())  # x needs no gradient
    print("groups", groups, "weight gradient / forward", backward / forward)
    assert forward == 2 * 5 * 64 * 9 * 16 * 16 // groups
    assert backward == forward * groups
END
venv/bin/python finding.py
