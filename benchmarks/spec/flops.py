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

from backends import contract
from benchmarks.spec.model import leaving


def step_flops(model: contract.Model, batch_size: int) -> int:
    """Return the floating point operations of one training step on ``batch_size`` samples.

    The gradient with respect to a layer's weights takes as many as its forward pass, and the one with respect to
    its input as many again. The first layer with parameters does without the latter, wherever in the model it
    stands: before it there is nothing that a gradient could change.
    """
    forward = [count for count in _forward_flops(model) if count]
    return batch_size * (3 * sum(forward) - forward[0])


def _forward_flops(model: contract.Model) -> list[int]:
    """Return the operations of each layer's forward pass on one sample; zeros around an image count as pixels."""
    counts, shape = [], model.input_shape
    for layer in model.layers:
        shape = leaving(layer, shape)
        match layer:
            case contract.Linear(inputs, outputs):
                counts.append(2 * inputs * outputs)
            case contract.Conv2d(inputs, _, kernel):
                counts.append(2 * inputs * kernel * kernel * math.prod(shape))
            case _:
                counts.append(0)
    return counts
