"""Initial weights depend on the seed alone, and have the distribution that their name promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends.contract import BatchNorm, Conv2d, Flatten, Linear, Model
from benchmarks.spec.initial import InitialSpec, initial_parameters

WIDE = Model((400,), (Linear(400, 300),))
IMAGES = Model((8, 4, 4), (Conv2d(8, 96, (3, 5), (1, 1), (0, 0), groups=2), BatchNorm(96, 0.1, 1e-5), Flatten()))


def weights(model: Model = WIDE, **options: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return initial_parameters(model, np.random.default_rng(3), InitialSpec(**options))["0.weight"]


@pytest.mark.parametrize(
    ("options", "spread", "largest"),
    [
        ({}, 1 / math.sqrt(3 * 400), 1 / 20),
        ({"weights": "mindspore"}, 1 / math.sqrt(3 * 400), 1 / 20),
        ({"weights": "flax"}, 1 / 20, 2 / 20 / 0.8796),
        ({"weights": "keras"}, math.sqrt(2 / 700), math.sqrt(6 / 700)),
        ({"weights": "xavier"}, math.sqrt(2 / 700), math.sqrt(6 / 700)),
        ({"weights": "he"}, math.sqrt(2 / 400), math.inf),
        ({"weights": "normal", "spread": 0.01}, 0.01, math.inf),
    ],
    ids=str,
)
def test_weights_have_the_spread_that_their_name_promises(
    options: dict[str, Any], spread: float, largest: float
) -> None:
    drawn = weights(**options)
    assert drawn.dtype == np.float32
    assert drawn.std() == pytest.approx(spread, rel=0.01)
    assert abs(drawn).max() <= largest * 1.0001


def test_the_fan_in_of_a_convolution_is_that_of_its_group() -> None:
    assert abs(weights(IMAGES)).max() == pytest.approx(1 / math.sqrt(4 * 15), rel=0.01)
    fans = 4 * 15 + 96 * 15
    assert abs(weights(IMAGES, weights="keras")).max() == pytest.approx(math.sqrt(6 / fans), rel=0.01)


@pytest.mark.parametrize(("name", "zero"), [("pytorch", False), ("mindspore", False), ("flax", True), ("he", True)])
def test_biases_are_zero_where_the_name_has_them_so(name: Any, zero: bool) -> None:
    drawn = initial_parameters(IMAGES, np.random.default_rng(3), InitialSpec(weights=name))
    assert (not drawn["0.bias"].any()) is zero


def test_batch_normalization_begins_with_ones_and_zeros() -> None:
    drawn = initial_parameters(IMAGES, np.random.default_rng(3))
    ends = {name: set(drawn[f"1.{name}"].tolist()) for name in ("weight", "bias", "running_mean", "running_var")}
    assert ends == {"weight": {1.0}, "bias": {0.0}, "running_mean": {0.0}, "running_var": {1.0}}


def test_the_seed_alone_decides() -> None:
    assert np.array_equal(weights(weights="flax"), weights(weights="flax"))
