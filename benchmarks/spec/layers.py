"""The layers as a user writes them, and the model that they make, with all shapes between them inferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, WithJsonSchema

from backends import contract
from benchmarks.spec.shapes import Shape, ShapeError, leaving
from benchmarks.spec.strict import Strict, added

MOST = 65_536
Size = Annotated[int, Field(ge=1, le=MOST)]


def _sides(least: int) -> Any:
    """A number of pixels for height and width alike, or a list of both."""

    def check(value: Any) -> int | tuple[int, int]:
        both = list(value) if isinstance(value, list | tuple) else [value, value]
        if len(both) != 2 or not all(type(side) is int and least <= side <= MOST for side in both):
            wanted = f"a whole number from {least} to {MOST:,}, or [height, width] of such"
            raise ValueError(f"it has to be {wanted}, but it is {value!r:.80}")
        return cast(tuple[int, int], tuple(both)) if isinstance(value, list | tuple) else both[0]

    return BeforeValidator(check)


def _schema(least: int) -> Any:
    side = {"type": "integer", "minimum": least, "maximum": MOST}
    return WithJsonSchema({"anyOf": [side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}]})


Sides = Annotated[int | tuple[int, int], _sides(1), _schema(1)]
Padding = Annotated[int | tuple[int, int], _sides(0), _schema(0)]


def _pair(sides: int | tuple[int, int]) -> contract.Pair:
    return sides if isinstance(sides, tuple) else (sides, sides)


class FlattenSpec(Strict):
    """All values of a sample in one row, in the order channels, height, width."""

    layer: Literal["flatten"]

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.Flatten()


class LinearSpec(Strict):
    """A fully connected layer."""

    layer: Literal["linear"]
    outputs: Size = Field(description="Number of output features.")
    bias: bool = added(True, "Whether a bias is added to each output.")

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        if len(shape) != 1:
            raise ShapeError('it needs a flat row of features: put { layer = "flatten" } before it')
        return contract.Linear(shape[0], self.outputs, self.bias)


class Conv2dSpec(Strict):
    """A two-dimensional convolution."""

    layer: Literal["conv2d"]
    channels: Size = Field(description="Number of output channels.")
    kernel: Sides = Field(description="Height and width of the kernel, in pixels.")
    stride: Sides = Field(default=1, description="Step between two positions of the kernel, in pixels.")
    padding: Padding = Field(default=0, description="Rows and columns of zeros on each side of an image, in pixels.")
    groups: Size = added(1, "Groups of channels that see nothing of each other; as many as channels arrive: depthwise.")
    bias: bool = added(True, "Whether a bias is added to each channel; before batch_norm it would do nothing.")

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        if len(shape) != 3:
            raise ShapeError("it needs images of (channels, height, width)")
        if shape[0] % self.groups or self.channels % self.groups:
            raise ShapeError(
                f"groups = {self.groups} has to divide the {shape[0]} channels that arrive and the {self.channels} "
                "that leave"
            )
        sides = (_pair(self.kernel), _pair(self.stride), _pair(self.padding))
        return contract.Conv2d(shape[0], self.channels, *sides, self.groups, self.bias)


class _PoolSpec(Strict):
    kernel: Sides = Field(description="Height and width of the window, in pixels.")
    stride: Sides | None = Field(default=None, description="Step between two windows; the kernel if left out.")
    padding: Padding = added(0, "Rows and columns around each image, in pixels; at most half of the kernel.")

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        kernel, padding = _pair(self.kernel), _pair(self.padding)
        if any(2 * pad > side for pad, side in zip(padding, kernel, strict=True)):
            raise ShapeError("its padding may be at most half of its kernel: a window would hold nothing else")
        pool = contract.MaxPool2d if isinstance(self, MaxPool2dSpec) else contract.AvgPool2d
        return pool(kernel, _pair(self.stride or self.kernel), padding)


class MaxPool2dSpec(_PoolSpec):
    """The largest value of each window."""

    layer: Literal["max_pool2d"]


class AvgPool2dSpec(_PoolSpec):
    """The mean of each window, zeros of the padding counted."""

    layer: Literal["avg_pool2d"]


class GlobalAvgPool2dSpec(Strict):
    """The mean of each channel, which leaves a flat row of features."""

    layer: Literal["global_avg_pool2d"]

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.GlobalAvgPool2d()


class BatchNormSpec(Strict):
    """Batch normalization, of each channel of images, or of each feature of rows."""

    layer: Literal["batch_norm"]
    momentum: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="Share of the new in the running statistics; Keras and Flax name the share of the old."
    )
    epsilon: Annotated[float, Field(ge=1e-10, le=1)] = Field(default=1e-5, description="Added to the variance.")

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.BatchNorm(shape[0], self.momentum, self.epsilon)


class _ElementwiseSpec(Strict):
    """A function of each number."""

    layer: str

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        return contract.LAYERS[self.layer](**self.model_dump(exclude={"layer"}))


class ReLUSpec(_ElementwiseSpec):
    """max(x, 0)."""

    layer: Literal["relu"]


class LeakyReLUSpec(_ElementwiseSpec):
    """x where it is positive, elsewhere a share of it."""

    layer: Literal["leaky_relu"]
    slope: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.01, description="Share of what is negative.")


class TanhSpec(_ElementwiseSpec):
    """Hyperbolic tangent."""

    layer: Literal["tanh"]


class SigmoidSpec(_ElementwiseSpec):
    """1 / (1 + exp(-x))."""

    layer: Literal["sigmoid"]


class SiLUSpec(_ElementwiseSpec):
    """x / (1 + exp(-x)), also called swish."""

    layer: Literal["silu"]


class GELUSpec(_ElementwiseSpec):
    """x times the normal distribution function of x."""

    layer: Literal["gelu"]
    tanh: bool = Field(default=False, description="Whether it is the approximation by tanh, as Flax has by default.")


class SoftplusSpec(_ElementwiseSpec):
    """log(1 + exp(x))."""

    layer: Literal["softplus"]


class ResidualSpec(Strict):
    """The sum of what a chain of layers gives and what a shortcut gives."""

    layer: Literal["residual"]
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1, max_length=200, strict=False)] = Field(
        description="The layers of the block."
    )
    shortcut: Annotated[tuple[LayerSpec, ...], Field(max_length=200, strict=False)] = Field(
        default=(), description="The layers of the other way; empty: the samples as they are."
    )

    def build(self, shape: Shape) -> contract.Layer:
        """Return the layer for samples of this shape."""
        layers, after = _chain(self.layers, shape, "its layers")
        shortcut, beside = _chain(self.shortcut, shape, "its shortcut")
        if after != beside:
            raise ShapeError(f"its layers give shape {after} and its shortcut gives {beside}: they have to be the same")
        return contract.Residual(layers, shortcut)


LayerSpec = Annotated[
    FlattenSpec
    | LinearSpec
    | Conv2dSpec
    | MaxPool2dSpec
    | AvgPool2dSpec
    | GlobalAvgPool2dSpec
    | BatchNormSpec
    | ReLUSpec
    | LeakyReLUSpec
    | TanhSpec
    | SigmoidSpec
    | SiLUSpec
    | GELUSpec
    | SoftplusSpec
    | ResidualSpec,
    Field(discriminator="layer"),
]
ResidualSpec.model_rebuild()


def build_model(layers: Sequence[LayerSpec], input_shape: Shape) -> tuple[contract.Model, Shape]:
    """Infer the shapes through the layers; return the model and the shape of one sample that leaves it.

    Raises ShapeError, naming the first layer that does not fit.
    """
    built, shape = _chain(layers, input_shape, "layers")
    return contract.Model(input_shape, built), shape


def _chain(specs: Sequence[LayerSpec], shape: Shape, name: str) -> tuple[tuple[contract.Layer, ...], Shape]:
    """Build layers that follow one another; return them, and the shape of one sample that leaves the last."""
    built: list[contract.Layer] = []
    for index, spec in enumerate(specs):
        try:
            layer = spec.build(shape)
            shape_after = leaving(layer, shape)
        except ShapeError as error:
            raise ShapeError(f"{name}[{index}] ({spec.layer}): a sample of shape {shape} arrives; {error}") from None
        built.append(layer)
        shape = shape_after
    return tuple(built), shape
