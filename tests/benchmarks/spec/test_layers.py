"""Shapes are inferred through the layers, blocks included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import model_from_json, model_to_json
from backends.float64.training import forward
from benchmarks.spec.initial import initial_parameters
from benchmarks.spec.layers import (
    AvgPool2dSpec,
    BatchNormSpec,
    Conv2dSpec,
    FlattenSpec,
    GlobalAvgPool2dSpec,
    LayerSpec,
    LinearSpec,
    MaxPool2dSpec,
    ReLUSpec,
    ResidualSpec,
    build_model,
)
from benchmarks.spec.shapes import ShapeError, parameter_shapes

BLOCK = ResidualSpec(
    layer="residual",
    layers=(Conv2dSpec(layer="conv2d", channels=6, kernel=3, stride=2, padding=1), BatchNormSpec(layer="batch_norm")),
    shortcut=(Conv2dSpec(layer="conv2d", channels=6, kernel=1, stride=2, bias=False),),
)
"""Half the size, whatever arrives."""


def sides(least: int, most: int) -> st.SearchStrategy[Any]:
    one = st.integers(least, most)
    return one | st.tuples(one, one)


pools = {"kernel": sides(2, 3), "stride": st.none() | sides(1, 3), "padding": sides(0, 1)}
image_layers = st.one_of(
    st.builds(
        Conv2dSpec,
        layer=st.just("conv2d"),
        channels=st.sampled_from([2, 4]),
        kernel=sides(1, 4),
        stride=sides(1, 3),
        padding=sides(0, 2),
        bias=st.booleans(),
    ),
    st.builds(MaxPool2dSpec, layer=st.just("max_pool2d"), **pools),
    st.builds(AvgPool2dSpec, layer=st.just("avg_pool2d"), **pools),
    st.builds(BatchNormSpec, layer=st.just("batch_norm")),
    st.just(ReLUSpec(layer="relu")),
    st.just(BLOCK),
)
ends = st.sampled_from([FlattenSpec(layer="flatten"), GlobalAvgPool2dSpec(layer="global_avg_pool2d")])


@given(
    st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)),
    st.lists(image_layers, max_size=4),
    ends,
    st.integers(1, 5),
)
def test_inferred_shapes_are_those_that_the_arithmetic_gives(
    shape: tuple[int, int, int], images: list[LayerSpec], end: LayerSpec, outputs: int
) -> None:
    layers = [*images, end, LinearSpec(layer="linear", outputs=outputs)]
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
