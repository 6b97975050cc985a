"""The floating point operations of one training step, counted from the layers alone.

What is counted is what the field counts: the products of the model, a multiplication and an addition as two
operations. That is the numerator of the model FLOPs utilization (Chowdhery et al., 2022, "PaLM: Scaling Language
Modeling with Pathways", arXiv:2204.02311, appendix B), the C = 6 N of Kaplan et al. (2020, "Scaling Laws for Neural
Language Models", arXiv:2001.08361, section 2.1), and what torch.utils.flop_counter counts, to the last operation.
Biases and their gradients, activations, pooling, the loss and the update of SGD are left out: they are of lower order.
It is a count of what the model needs, whatever a framework really executes, so it is the same for every backend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from backends import contract
from benchmarks.spec.shapes import Shape, leaving


def step_flops(model: contract.Model, batch_size: int) -> int:
    """Return the floating point operations of one training step on ``batch_size`` samples.

    The gradient with respect to a layer's weights takes as many as its forward pass, and the one with respect to
    its input as many again. The first layer with parameters does without the latter, wherever in the model it
    stands: before it there is nothing that a gradient could change.
    """
    forward = _forward_flops(model.layers, model.input_shape)
    return batch_size * (3 * sum(forward) - sum(_without_input_gradient(model.layers, model.input_shape)))


def forward_flops(model: contract.Model) -> int:
    """Return the floating point operations of the forward pass on one sample."""
    return sum(_forward_flops(model.layers, model.input_shape))


def _forward_flops(layers: Sequence[contract.Layer], shape: Shape) -> list[int]:
    """Return the operations of each layer's forward pass on one sample; zeros around an image count as pixels."""
    counts = []
    for layer in layers:
        before, shape = shape, leaving(layer, shape)
        match layer:
            case contract.Linear(inputs, outputs):
                counts.append(2 * inputs * outputs)
            case contract.Conv2d(inputs, _, kernel, groups=groups):
                counts.append(2 * inputs // groups * math.prod(kernel) * math.prod(shape))
            case contract.Residual():
                inside = (_forward_flops(part, before) for part in (layer.layers, layer.shortcut))
                counts.append(sum(map(sum, inside)))
            case _:
                counts.append(0)
    return counts


def _without_input_gradient(layers: Sequence[contract.Layer], shape: Shape) -> list[int]:
    """Return the forward operations of the first layers with parameters: those that nothing to be learned is before.

    There is one, unless the model begins with a residual block, each of whose branches has one. An empty list says that
    these layers have no parameters.
    """
    for layer in layers:
        if isinstance(layer, contract.Residual):
            if found := [
                count for part in (layer.layers, layer.shortcut) for count in _without_input_gradient(part, shape)
            ]:
                return found
        elif isinstance(layer, contract.Linear | contract.Conv2d | contract.BatchNorm):
            return _forward_flops([layer], shape)
        shape = leaving(layer, shape)
    return []
