"""Backends whose activations are other ones."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import ADAM, FIRST_STEP, LOGITS, ZERO, Saboteur, edited

LEAKY = "Back(lambda g: np.where(x > 0, g, slope * g))"


def leaky(name: str, description: str, at_zero: str) -> Saboteur:
    """A saboteur with another derivative of leaky ReLU at 0."""
    back = f"Back(lambda g: g * np.where(x == 0, {at_zero}, np.where(x > 0, 1, slope)))"
    return edited(name, description, FIRST_STEP, "activations.leaky_relu", {LEAKY: back}, ZERO)


SABOTEURS = (
    edited(
        "gelu_tanh",
        "the approximation of GELU instead of the exact one",
        FIRST_STEP,
        "activations.gelu",
        {"if layer.tanh": "if True"},
        ADAM,
    ),
    edited(
        "gelu_exact",
        "the exact GELU instead of its approximation",
        FIRST_STEP,
        "activations.gelu",
        {"if layer.tanh": "if False"},
    ),
    edited(
        "gelu_quick",
        "GELU approximated by x s(1.702 x)",
        LOGITS,
        "activations.gelu",
        {"number = x.dtype.type": "y, back = silu(layer, own, 1.702 * x)\n    return y / 1.702, back\n    number = 0"},
    ),
    leaky("leaky_relu_at_zero_1", "leaky ReLU has the derivative 1 at 0, as jax.nn has it", "1"),
    leaky(
        "leaky_relu_at_zero_mean",
        "leaky ReLU has the mean of both derivatives at 0, as MindSpore has it",
        "(1 + slope) / 2",
    ),
    edited(
        "leaky_relu_slope",
        "leaky ReLU with a slope of 0.01, PyTorch's default",
        LOGITS,
        "activations.leaky_relu",
        {"x.dtype.type(layer.slope)": "0.01"},
    ),
    edited(
        "silu_by_sigmoid_alone",
        "the derivative of SiLU leaves out that of the product's second factor",
        FIRST_STEP,
        "activations.silu",
        {"g * (s * (1 + x * (1 - s)))": "g * s"},
        ADAM,
    ),
    edited(
        "sigmoid_hard",
        "hard sigmoid instead of sigmoid",
        LOGITS,
        "activations.sigmoid",
        {"y = _logistic(x)": "y = np.clip(x / 6 + 0.5, 0, 1)"},
        ADAM,
    ),
    edited(
        "sigmoid_by_half_tanh",
        "sigmoid by tanh without the half: (1 + tanh x) / 2",
        LOGITS,
        "activations.sigmoid",
        {"y = _logistic(x)": "y = (1 + np.tanh(x)) / 2"},
        ADAM,
    ),
)
