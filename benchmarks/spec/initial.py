"""How the initial weights are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from backends import contract
from benchmarks.spec.shapes import Shape, parameter_shapes
from benchmarks.spec.strict import Strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scheme = Literal["pytorch", "mindspore", "flax", "keras", "he", "xavier", "normal"]


class InitialSpec(Strict):
    """How the weights of linear and conv2d are drawn. Those of batch_norm begin with 1, its biases with 0."""

    weights: Scheme = Field(
        default="pytorch",
        description="What the layers of PyTorch or MindSpore do (uniform within 1/sqrt(fan-in), biases too), or Flax "
        "(normal, 1/sqrt(fan-in), cut off at twice that), Keras and xavier (uniform, sqrt(6/(fan-in + fan-out))), "
        "he (normal, sqrt(2/fan-in)), or normal with a spread; these have biases of 0.",
    )
    spread: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        default=None, description='Standard deviation of weights = "normal".'
    )

    @model_validator(mode="after")
    def _normal_has_a_spread(self) -> InitialSpec:
        if (self.weights == "normal") != (self.spread is not None):
            raise ValueError('spread belongs to weights = "normal", which needs it')
        return self


def initial_parameters(
    model: contract.Model, generator: np.random.Generator, initial: InitialSpec | None = None
) -> contract.Parameters:
    """Draw float32 parameters, by their canonical names; without ``initial`` as PyTorch's layers do.

    The fan-in is the number of inputs of one output value (LeCun et al., "Efficient BackProp", 1998, section 4.6,
    for scaling by it), the fan-out that of the outputs of one input value.
    """
    import numpy as np

    initial = initial or InitialSpec()
    parameters: contract.Parameters = {}
    fan_in, normalized = 1, {name for name, layer in contract.named_layers(model.layers) if _is_normalization(layer)}
    for name, shape in parameter_shapes(model).items():
        layer, kind = name.rsplit(".", 1)
        if kind == "weight" and layer not in normalized:
            fan_in = math.prod(shape[1:])
        if layer in normalized:
            values = np.full(shape, float(kind in ("weight", "running_var")))
        elif kind == "weight" or initial.weights in ("pytorch", "mindspore"):
            values = SCHEMES[initial.weights](generator, shape, fan_in, initial.spread)
        else:
            values = np.zeros(shape)
        parameters[name] = values.astype("float32")
    return parameters


def _is_normalization(layer: contract.Layer) -> bool:
    return isinstance(layer, contract.BatchNorm)


def _uniform_by_fan_in(generator: np.random.Generator, shape: Shape, fan_in: int, _: Any) -> NDArray[np.float64]:
    """torch.nn.Linear and Conv2d, weights and biases; nn.Dense and nn.Conv2d of MindSpore 2.10 draw the same."""
    bound = 1 / math.sqrt(fan_in)
    return generator.uniform(-bound, bound, shape)


def _lecun_normal(generator: np.random.Generator, shape: Shape, fan_in: int, _: Any) -> NDArray[np.float64]:
    """jax.nn.initializers.lecun_normal, flax's default: the spread is 1/sqrt(fan-in) after the tails are cut off."""
    import numpy as np

    values = generator.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.standard_normal(int(outside.sum()))
    return values / math.sqrt(fan_in) / SPREAD_WITHOUT_TAILS


def _xavier_uniform(generator: np.random.Generator, shape: Shape, fan_in: int, _: Any) -> NDArray[np.float64]:
    """Glorot & Bengio (2010), equation 16; Keras' default."""
    fan_out = shape[0] * math.prod(shape[2:])
    bound = math.sqrt(6 / (fan_in + fan_out))
    return generator.uniform(-bound, bound, shape)


def _he_normal(generator: np.random.Generator, shape: Shape, fan_in: int, _: Any) -> NDArray[np.float64]:
    """He et al. (2015, arXiv:1502.01852), equation 10."""
    return generator.normal(0, math.sqrt(2 / fan_in), shape)


def _normal(generator: np.random.Generator, shape: Shape, _: int, spread: Any) -> NDArray[np.float64]:
    return generator.normal(0, spread, shape)


SPREAD_WITHOUT_TAILS = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is cut off at -2 and 2."""

SCHEMES: dict[Scheme, Callable[..., NDArray[np.float64]]] = {
    "pytorch": _uniform_by_fan_in,
    "mindspore": _uniform_by_fan_in,
    "flax": _lecun_normal,
    "keras": _xavier_uniform,
    "xavier": _xavier_uniform,
    "he": _he_normal,
    "normal": _normal,
}
