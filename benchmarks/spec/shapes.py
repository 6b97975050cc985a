"""The shapes between the layers of a model, and those of its parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from backends import contract

Shape = tuple[int, ...]


class ShapeError(ValueError):
    """A layer does not fit what arrives at it; the message names the layer, the shape, and what it needs."""


def leaving(layer: contract.Layer, shape: Shape) -> Shape:
    """Return the shape of one sample that leaves a layer, given the shape of one that arrives.

    Raises ShapeError if the layer needs images and what arrives is none, or a smaller one than its window.
    """
    match layer:
        case contract.Flatten():
            return (math.prod(shape),)
        case contract.Linear():
            return (layer.outputs,)
        case contract.Conv2d():
            return (layer.outputs, *_slide(shape, layer))
        case contract.MaxPool2d() | contract.AvgPool2d():
            return (shape[0], *_slide(shape, layer))
        case contract.GlobalAvgPool2d():
            _need_images(shape)
            return (shape[0],)
        case contract.Residual():
            for inner in layer.layers:
                shape = leaving(inner, shape)
            return shape
        case _:
            return shape


def parameter_shapes(model: contract.Model) -> dict[str, Shape]:
    """Return the shape of every parameter, by its canonical name, in the order of the layers."""
    shapes: dict[str, Shape] = {}
    for name, layer in contract.named_layers(model.layers):
        shapes |= {f"{name}.{parameter}": shape for parameter, shape in _parameters(layer).items()}
    return shapes


def _parameters(layer: contract.Layer) -> dict[str, Shape]:
    match layer:
        case contract.Linear():
            bias = {"bias": (layer.outputs,)} if layer.bias else {}
            return {"weight": (layer.outputs, layer.inputs), **bias}
        case contract.Conv2d():
            bias = {"bias": (layer.outputs,)} if layer.bias else {}
            return {"weight": (layer.outputs, layer.inputs // layer.groups, *layer.kernel), **bias}
        case contract.BatchNorm():
            return dict.fromkeys(("weight", "bias", *contract.STATISTICS), (layer.channels,))
        case _:
            return {}


def numbers_per_channel(layers: Sequence[contract.Layer], shape: Shape) -> int | None:
    """The fewest numbers of a sample that any batch normalization takes the mean of; None if there is none."""
    found: list[int] = []
    for layer in layers:
        if isinstance(layer, contract.BatchNorm):
            found.append(math.prod(shape[1:]))
        elif isinstance(layer, contract.Residual):
            inside = (numbers_per_channel(part, shape) for part in (layer.layers, layer.shortcut))
            found += [number for number in inside if number is not None]
        shape = leaving(layer, shape)
    return min(found, default=None)


def _need_images(shape: Shape) -> None:
    if len(shape) != 3:
        raise ShapeError("it needs images of (channels, height, width)")


def _slide(shape: Shape, layer: contract.Conv2d | contract.Pool) -> tuple[int, int]:
    """Return height and width after a window slid over an image (Dumoulin and Visin, 2016, relationship 6)."""
    _need_images(shape)
    sides = zip(shape[1:], layer.kernel, layer.stride, layer.padding, strict=True)
    height, width = (1 + (side + 2 * padding - kernel) // stride for side, kernel, stride, padding in sides)
    if height < 1 or width < 1:
        raise ShapeError(f"it needs at least {layer.kernel[0]} x {layer.kernel[1]} pixels, padding included")
    return height, width
