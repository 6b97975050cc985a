"""The model of an experiment: its layers as the user writes them, the shapes between them, the initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from backends import contract
from benchmarks.spec.strict import Strict

if TYPE_CHECKING:
    import numpy as np

Size = Annotated[int, Field(ge=1, le=65_536)]
Shape = tuple[int, ...]


class ShapeError(ValueError):
    """A layer does not fit what arrives at it; the message names the layer, the shape, and what it needs."""


class FlattenSpec(Strict):
    """All values of a sample in one row, in the order channels, height, width."""

    layer: Literal["flatten"]

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.Flatten()


class LinearSpec(Strict):
    """A fully connected layer with bias."""

    layer: Literal["linear"]
    outputs: Size = Field(description="Number of output features.")

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        if len(shape) != 1:
            raise ShapeError('it needs a flat row of features: put { layer = "flatten" } before it')
        return contract.Linear(shape[0], self.outputs)


class Conv2dSpec(Strict):
    """A two-dimensional convolution with a square kernel and bias."""

    layer: Literal["conv2d"]
    channels: Size = Field(description="Number of output channels.")
    kernel: Size = Field(description="Height and width of the kernel, in pixels.")
    stride: Size = Field(default=1, description="Step between two positions of the kernel, in pixels.")
    padding: Annotated[int, Field(ge=0, le=65_536)] = Field(
        default=0, description="Rows and columns of zeros around each image, in pixels."
    )

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.Conv2d(shape[0], self.channels, self.kernel, self.stride, self.padding)


class _PoolSpec(Strict):
    kernel: Size = Field(description="Height and width of the window, in pixels.")
    stride: Size | None = Field(default=None, description="Step between two windows; the kernel size if left out.")

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        pool = contract.MaxPool2d if isinstance(self, MaxPool2dSpec) else contract.AvgPool2d
        return pool(self.kernel, self.stride or self.kernel)


class MaxPool2dSpec(_PoolSpec):
    """The largest value of each square window."""

    layer: Literal["max_pool2d"]


class AvgPool2dSpec(_PoolSpec):
    """The mean of each square window."""

    layer: Literal["avg_pool2d"]


class _ElementwiseSpec(Strict):
    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.ReLU() if isinstance(self, ReLUSpec) else contract.Tanh()


class ReLUSpec(_ElementwiseSpec):
    """max(x, 0)."""

    layer: Literal["relu"]


class TanhSpec(_ElementwiseSpec):
    """Hyperbolic tangent."""

    layer: Literal["tanh"]


LayerSpec = Annotated[
    FlattenSpec | LinearSpec | Conv2dSpec | MaxPool2dSpec | AvgPool2dSpec | ReLUSpec | TanhSpec,
    Field(discriminator="layer"),
]


def build_model(layers: Sequence[LayerSpec], input_shape: Shape) -> tuple[contract.Model, Shape]:
    """Infer the shapes through the layers; return the model and the shape of one sample that leaves it.

    Raises ShapeError, naming the first layer that does not fit.
    """
    built, shape = [], input_shape
    for index, spec in enumerate(layers):
        try:
            layer = spec.build(shape)
            shape_after = leaving(layer, shape)
        except ShapeError as error:
            raise ShapeError(f"layers[{index}] ({spec.layer}): a sample of shape {shape} arrives; {error}") from None
        built.append(layer)
        shape = shape_after
    return contract.Model(input_shape, tuple(built)), shape


def leaving(layer: contract.Layer, shape: Shape) -> Shape:
    """Return the shape of one sample that leaves a layer, given the shape of one that arrives.

    Raises ShapeError if the layer slides a window and what arrives is no image, or a smaller one than the window.
    """
    match layer:
        case contract.Flatten():
            return (math.prod(shape),)
        case contract.Linear():
            return (layer.outputs,)
        case contract.Conv2d():
            return (layer.outputs, *_slide(shape, layer.kernel, layer.stride, layer.padding))
        case contract.MaxPool2d() | contract.AvgPool2d():
            return (shape[0], *_slide(shape, layer.kernel, layer.stride, 0))
        case contract.ReLU() | contract.Tanh():
            return shape


def parameter_shapes(model: contract.Model) -> dict[str, Shape]:
    """Return the shape of every parameter, by its canonical name, in the order of the layers."""
    shapes: dict[str, Shape] = {}
    for index, layer in enumerate(model.layers):
        if isinstance(layer, contract.Linear):
            shapes[f"{index}.weight"] = (layer.outputs, layer.inputs)
        elif isinstance(layer, contract.Conv2d):
            shapes[f"{index}.weight"] = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
        else:
            continue
        shapes[f"{index}.bias"] = (layer.outputs,)
    return shapes


def initial_parameters(model: contract.Model, generator: np.random.Generator) -> contract.Parameters:
    """Draw float32 weights and biases uniformly from +-1/sqrt(fan-in), which is what torch.nn's layers do.

    The fan-in is the number of inputs of one output value (LeCun et al., "Efficient BackProp", 1998, section 4.6,
    for scaling by it).
    """
    parameters: contract.Parameters = {}
    fan_in = 1
    for name, shape in parameter_shapes(model).items():
        if name.endswith(".weight"):
            fan_in = math.prod(shape[1:])
        bound = 1 / math.sqrt(fan_in)
        parameters[name] = generator.uniform(-bound, bound, shape).astype("float32")
    return parameters


def _slide(shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return height and width after a window slid over an image (Dumoulin and Visin, 2016, relationship 6)."""
    if len(shape) != 3:
        raise ShapeError("it needs images of (channels, height, width)")
    height, width = (1 + (side + 2 * padding - kernel) // stride for side in shape[1:])
    if height < 1 or width < 1:
        raise ShapeError(f"it needs at least {kernel} x {kernel} pixels, padding included")
    return height, width
