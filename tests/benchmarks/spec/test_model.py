"""Shapes are inferred through the layers; initial weights depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import contract
from backends.contract import model_from_json, model_to_json
from backends.float64.training import forward
from benchmarks.spec.initial import initial_parameters
from benchmarks.spec.layers import AvgPool2dSpec, Conv2dSpec, FlattenSpec, LayerSpec, LinearSpec, MaxPool2dSpec, ReLUSpec, TanhSpec, build_model
from benchmarks.spec.shapes import ShapeError, parameter_shapes

image_layers = st.one_of(
    st.builds(
        Conv2dSpec,
        layer=st.just("conv2d"),
        channels=st.integers(1, 4),
        kernel=st.integers(1, 4),
        stride=st.integers(1, 3),
        padding=st.integers(0, 2),
    ),
    st.builds(
        MaxPool2dSpec, layer=st.just("max_pool2d"), kernel=st.integers(1, 3), stride=st.none() | st.integers(1, 3)
    ),
    st.builds(
        AvgPool2dSpec, layer=st.just("avg_pool2d"), kernel=st.integers(1, 3), stride=st.none() | st.integers(1, 3)
    ),
    st.builds(ReLUSpec, layer=st.just("relu")),
    st.builds(TanhSpec, layer=st.just("tanh")),
)


@given(
    st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)),
    st.lists(image_layers, max_size=4),
    st.integers(1, 5),
)
def test_inferred_shapes_are_those_that_the_arithmetic_gives(
    shape: tuple[int, int, int], images: list[LayerSpec], outputs: int
) -> None:
    layers = [*images, FlattenSpec(layer="flatten"), LinearSpec(layer="linear", outputs=outputs)]
    try:
        model, shape_after = build_model(layers, shape)
    except ShapeError:
        return  # too small an image: the next test is about that
    parameters = initial_parameters(model, np.random.default_rng(0))
    assert {name: values.shape for name, values in parameters.items()} == parameter_shapes(model)
    exact = {name: values.astype(np.float64) for name, values in parameters.items()}
    assert forward(model, exact, np.zeros((2, *shape)))[0].shape == (2, *shape_after)
    assert model_from_json(model_to_json(model)) == model


def test_a_misfit_names_the_layer_the_shape_that_arrived_and_what_it_needs() -> None:
    layers: list[LayerSpec] = [
        MaxPool2dSpec(layer="max_pool2d", kernel=4),
        ReLUSpec(layer="relu"),
        Conv2dSpec(layer="conv2d", channels=2, kernel=3),
    ]
    expected = r"layers\[2\] \(conv2d\): a sample of shape \(1, 2, 2\) arrives; it needs at least 3 x 3 pixels"
    with pytest.raises(ShapeError, match=expected):
        build_model(layers, (1, 8, 8))


def test_initial_weights_are_uniform_within_the_bound_of_their_layer() -> None:
    model = contract.Model((400,), (contract.Linear(400, 300),))
    weights = initial_parameters(model, np.random.default_rng(3))["0.weight"]
    assert weights.dtype == np.float32
    assert abs(weights).max() <= 1 / 20
    assert weights.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.01)
