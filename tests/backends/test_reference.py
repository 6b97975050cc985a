"""The judge is judged: gradients by finite differences, layers by plain loops, SGD by sums written out."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from backends import reference
from backends.contract import (
    SGD,
    AvgPool2d,
    Conv2d,
    Flatten,
    Job,
    Layer,
    Linear,
    Loss,
    MaxPool2d,
    Model,
    Parameters,
    ReLU,
    Tanh,
    Unavailable,
)
from backends.reference import LOSSES, OPERATIONS, Array, Arrays, Reference, Training, loss_and_gradients

PLAIN = SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)
SMOOTH = Model(
    (2, 9, 8),
    (
        Conv2d(2, 3, 3, 2, 1),
        Tanh(),
        Conv2d(3, 2, 2, 1, 1),
        AvgPool2d(3, 2),
        Flatten(),
        Linear(8, 4),
        Tanh(),
        Linear(4, 3),
    ),
)
KINKED = Model(
    (2, 8, 9),
    (Conv2d(2, 3, 3, 1, 2), ReLU(), MaxPool2d(3, 2), Conv2d(3, 2, 2, 1, 0), ReLU(), Flatten(), Linear(24, 3)),
)
FLAT = Model((2, 3, 2), (Flatten(), Linear(12, 5), ReLU(), Linear(5, 3)))


EPSILON = float(np.finfo(np.float32).eps)
DTYPES: tuple[Any, ...] = (np.float64, np.float32)


def distinct(shape: tuple[int, ...], seed: int) -> Array:
    """Values in [-2, 2], none 0 and no two closer than finite differences can tell: no kink is ever crossed."""
    size = math.prod(shape)
    values = np.random.default_rng(seed).permutation(size) + 0.25
    return (values / size * 4 - 2).reshape(shape)


def by_differences(function: Callable[[], float], array: Array, step: float = 1e-6) -> Array:
    """The gradient of ``function`` with respect to ``array``, which it reads, by central differences."""
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        middle = array[index]
        array[index] = middle + step
        above = function()
        array[index] = middle - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = middle
    return gradient


def assert_close(actual: NDArray[np.floating], expected: NDArray[np.floating], tolerance: float = 1e-7) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's parameters."""
    match layer:
        case Linear(inputs, outputs):
            return {"weight": (outputs, inputs), "bias": (outputs,)}
        case Conv2d(inputs, outputs, kernel):
            return {"weight": (outputs, inputs, kernel, kernel), "bias": (outputs,)}
        case _:
            return {}


def draw_parameters(model: Model, seed: int = 0) -> Parameters:
    generator = np.random.default_rng(seed)
    return {
        f"{i}.{name}": generator.uniform(-0.7, 0.7, shape).astype(np.float32)
        for i, layer in enumerate(model.layers)
        for name, shape in shapes(layer).items()
    }


def draw_samples(model: Model, loss: Loss, n: int, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((n, *model.input_shape)).astype(np.float32)
    if loss == "cross-entropy":
        return features, generator.integers(0, 3, n).astype(np.int32)
    return features, generator.standard_normal((n, 3)).astype(np.float32)


@st.composite
def layers_with_inputs(draw: st.DrawFn, *kinds: type[Layer]) -> tuple[Layer, Arrays, Array]:
    """A layer, its parameters, and an input; windows may overlap, leave gaps, or leave a border out."""
    kind: Any = draw(st.sampled_from(kinds))
    n, c, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, padding = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 2))
    h, w = draw(st.integers(kernel, kernel + 4)), draw(st.integers(kernel, kernel + 4))
    layer: Layer
    if kind is Linear:
        layer = Linear(c * h, outputs)
    elif kind is Conv2d:
        layer = Conv2d(c, outputs, kernel, stride, padding)
    elif kind in (MaxPool2d, AvgPool2d):
        layer = kind(kernel, stride)
    else:
        layer = kind()
    seed = draw(st.integers(0, 2**32 - 1))
    own = {name: distinct(shape, seed + 1) for name, shape in shapes(layer).items()}
    return layer, own, distinct((n, c * h) if kind is Linear else (n, c, h, w), seed)


@given(layers_with_inputs(Flatten, Linear, Conv2d, MaxPool2d, AvgPool2d, ReLU, Tanh))
@settings(max_examples=150, deadline=None)
def test_layer_gradients_are_those_of_finite_differences(drawn: tuple[Layer, Arrays, Array]) -> None:
    layer, own, x = drawn
    operation = OPERATIONS[type(layer)]
    y, back = operation(layer, own, x)
    g = distinct(y.shape, 5)

    def weighted() -> float:
        return float((operation(layer, own, x)[0] * g).sum())

    gradients = back.parameters(g)
    assert_close(back.inputs(g), by_differences(weighted, x))
    assert gradients.keys() == own.keys()
    for name, values in own.items():
        assert_close(gradients[name], by_differences(weighted, values))


def conv2d_in_loops(layer: Conv2d, own: Arrays, x: Array) -> Array:
    """Every output is a sum over the kernel's places that lie inside the image."""
    _, _, h, w = x.shape
    tops = range(-layer.padding, h + layer.padding - layer.kernel + 1, layer.stride)
    lefts = range(-layer.padding, w + layer.padding - layer.kernel + 1, layer.stride)
    y = np.empty((len(x), layer.outputs, len(tops), len(lefts)))
    for (n, o, p, q), _ in np.ndenumerate(y):
        y[n, o, p, q] = own["bias"][o]
        for c, i, j in np.ndindex(layer.inputs, layer.kernel, layer.kernel):
            row, column = tops[p] + i, lefts[q] + j
            if 0 <= row < h and 0 <= column < w:
                y[n, o, p, q] += own["weight"][o, c, i, j] * x[n, c, row, column]
    return y


def pool_in_loops(layer: MaxPool2d | AvgPool2d, x: Array, take: Callable[[Array], float]) -> Array:
    _, _, h, w = x.shape
    k = layer.kernel
    tops, lefts = range(0, h - k + 1, layer.stride), range(0, w - k + 1, layer.stride)
    y = np.empty((*x.shape[:2], len(tops), len(lefts)))
    for (n, c, p, q), _ in np.ndenumerate(y):
        y[n, c, p, q] = take(x[n, c, tops[p] : tops[p] + k, lefts[q] : lefts[q] + k])
    return y


@given(layers_with_inputs(Conv2d, MaxPool2d, AvgPool2d))
@settings(deadline=None)
def test_windowed_layers_do_what_plain_loops_do(drawn: tuple[Layer, Arrays, Array]) -> None:
    layer, own, x = drawn
    match layer:
        case Conv2d():
            expected = conv2d_in_loops(layer, own, x)
        case MaxPool2d():
            expected = pool_in_loops(layer, x, lambda window: float(window.max()))
        case AvgPool2d():
            expected = pool_in_loops(layer, x, lambda window: float(window.mean()))
    assert_close(OPERATIONS[type(layer)](layer, own, x)[0], expected, 1e-12)


def test_linear_and_flatten_follow_the_canonical_layout() -> None:
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    flat, _ = reference.flatten(Flatten(), {}, x)
    assert flat.tolist() == [list(range(12))]
    own = {"weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": np.array([0.5, 0.25, 0.125])}
    y, _ = reference.linear(Linear(2, 3), own, np.array([[10.0, 1.0]]))
    assert y.tolist() == [[12.5, 34.25, 56.125]]


def test_first_of_equal_maxima_gets_the_gradient() -> None:
    x = np.array([[[[1.0, 7.0, 7.0], [7.0, 0.0, 7.0]]]])
    y, back = reference.max_pool2d(MaxPool2d(2, 1), {}, x)
    assert y.tolist() == [[[[7.0, 7.0]]]]
    # Both windows hold x[0, 1]; it is the first 7 of either.
    assert back.inputs(np.array([[[[2.0, 3.0]]]])).tolist() == [[[[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]]]

    y, back = reference.max_pool2d(MaxPool2d(2, 1), {}, x - [[[[0.0, 0.0, 0.1], [0.1, 0.0, 0.3]]]], close=0.2)
    assert y.tolist() == [[[[7.0, 7.0]]]]
    assert back.inputs(np.array([[[[2.0, 3.0]]]])).tolist() == [[[[0.0, 0.0, 3.0], [2.0, 0.0, 0.0]]]]


def test_every_choice_of_a_max_pool_that_rounding_could_turn_is_turned_in_one_of_the_roundings() -> None:
    # Two pixels of each window give the same sum but for its rounding: 3 * 0.1 and 0.3.
    features: Any = np.zeros((100, 1, 4, 4), np.float32)
    features[:, 0, 0, 0], features[:, 0, 3, 3] = 0.1, 0.3
    model = Model((1, 4, 4), (Conv2d(1, 1, 2, 2, 0), MaxPool2d(2, 2), Flatten(), Linear(1, 2)))
    own: Any = {
        "0.weight": np.array([[[[3.0, 0.0], [0.0, 1.0]]]], np.float32),
        "0.bias": np.zeros(1, np.float32),
        "3.weight": np.ones((2, 1), np.float32),
        "3.bias": np.zeros(2, np.float32),
    }
    taken = []
    for rounding in (0.0, EPSILON, -EPSILON):
        _, backs = reference.forward(model, own, features, rounding)
        taken.append(backs[1].inputs(np.ones((100, 1, 1, 1)))[:, 0, 0, 0] != 0)
    assert len(set(taken[0])) == 1
    assert ((taken[1] != taken[0]) | (taken[2] != taken[0])).all()


def test_relu_has_no_slope_at_zero() -> None:
    y, back = reference.relu(ReLU(), {}, np.array([[-1.0, 0.0, 2.0]]))
    assert y.tolist() == [[0.0, 0.0, 2.0]]
    assert back.inputs(np.full((1, 3), 3.0)).tolist() == [[0.0, 0.0, 3.0]]


@given(n=st.integers(1, 5), outputs=st.integers(1, 5), scale=st.sampled_from([0.1, 1.0, 5.0]), seed=st.integers(0, 999))
@settings(deadline=None)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradients_are_those_of_finite_differences(
    loss: Loss, n: int, outputs: int, scale: float, seed: int
) -> None:
    z = distinct((n, outputs), seed) * scale
    generator = np.random.default_rng(seed)
    labels: NDArray[np.generic] = generator.integers(0, outputs, n).astype(np.int32)
    if loss == "mean-squared-error":
        labels = generator.standard_normal((n, outputs)).astype(np.float32)
    _, gradient = LOSSES[loss](z, labels)
    assert_close(gradient, by_differences(lambda: LOSSES[loss](z, labels)[0], z))


def test_cross_entropy_is_the_mean_of_minus_the_log_of_the_softmax() -> None:
    z = np.log(np.array([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]]))
    value, _ = reference.cross_entropy(z, np.array([1, 0], np.int32))
    assert value == pytest.approx((math.log(8 / 2) + math.log(8 / 6)) / 2, rel=1e-14)


def test_cross_entropy_of_large_logits_does_not_overflow() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, gradient = reference.cross_entropy(np.array([[1e5, 0.0], [-1e5, 0.0]]), np.array([1, 1], np.int32))
    assert value == 5e4
    assert gradient.tolist() == [[0.5, -0.5], [0.0, 0.0]]


def test_mean_squared_error_is_the_mean_over_samples_and_outputs() -> None:
    value, _ = reference.mean_squared_error(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 0], [0, 2]], np.float32))
    assert value == (0 + 4 + 9 + 4) / 4


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", [SMOOTH, KINKED, FLAT], ids=["smooth", "kinked", "flat"])
def test_gradients_of_a_whole_model_are_those_of_finite_differences(model: Model, loss: Loss, n: int) -> None:
    start = Training(model, loss, PLAIN, draw_parameters(model)).parameters
    features, labels = draw_samples(model, loss, n)
    x = features.astype(np.float64)
    _, gradients = loss_and_gradients(model, loss, start, x, labels)
    assert gradients.keys() == start.keys()
    for name, values in start.items():
        expected = by_differences(lambda: loss_and_gradients(model, loss, start, x, labels)[0], values)
        assert_close(gradients[name], expected)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_sum_over_past_gradients(momentum: float, nesterov: bool, weight_decay: float) -> None:
    """For ``y = w x + b``, with the velocity written out as ``sum_s momentum^(t-s) g_s``."""
    sgd = SGD(0.05, momentum, nesterov, weight_decay)
    start = {"0.weight": np.array([[0.5]], np.float32), "0.bias": np.array([-0.25], np.float32)}
    training = Training(Model((1,), (Linear(1, 1),)), "mean-squared-error", sgd, start)
    p, past = np.array([0.5, -0.25]), []
    for x, t in [(1.0, 2.0), (-0.5, 1.0), (2.0, -1.0), (0.75, 0.5), (1.5, 0.0)]:
        error = p[0] * x + p[1] - t
        loss = training.step(np.array([[x]], np.float32), np.array([[t]], np.float32))
        assert loss == pytest.approx(error**2, rel=1e-13)
        past.append(np.array([2 * error * x, 2 * error]) + weight_decay * p)
        velocity = sum(momentum**age * g for age, g in enumerate(reversed(past)))
        p = p - 0.05 * (past[-1] + momentum * velocity if nesterov else velocity)
        now = training.parameters
        np.testing.assert_allclose([now["0.weight"][0, 0], now["0.bias"][0]], p, rtol=1e-13)


def test_training_keeps_float64_and_leaves_what_it_was_given_alone() -> None:
    given_parameters = draw_parameters(SMOOTH)
    before = {name: value.copy() for name, value in given_parameters.items()}
    training = Training(SMOOTH, "cross-entropy", PLAIN, given_parameters)
    first = training.parameters.copy()
    training.step(*draw_samples(SMOOTH, "cross-entropy", 4))
    for name, value in before.items():
        assert np.array_equal(given_parameters[name], value)
        assert np.array_equal(first[name], value)
        now = training.parameters[name]
        assert now.dtype == np.float64
        assert np.any(now != now.astype(np.float32))
        now_given = Training(SMOOTH, "cross-entropy", PLAIN, {name: now}).parameters[name]
        assert now_given is not now
        assert np.array_equal(now_given, now)


def test_a_float32_copy_computes_in_float32_throughout() -> None:
    """Had one operation widened, the copy would round less than the frameworks that it stands for."""
    for model, loss in itertools.product((SMOOTH, KINKED), LOSSES):
        features, labels = draw_samples(model, loss, 4)
        runs = [Training(model, loss, SGD(0.1, 0.9, True, 0.01), draw_parameters(model), t) for t in DTYPES]
        for training in runs:
            x: Any = features.astype(training.dtype)
            outputs, backs = reference.forward(model, training.parameters, x)
            _, g = LOSSES[loss](outputs, labels)
            assert {outputs.dtype, g.dtype} == {np.dtype(training.dtype)}
            for i in reversed(range(len(backs))):
                g = backs[i].inputs(g)
                assert g.dtype == training.dtype
            for _ in range(3):
                training.step(features, labels)
            stored = [*training.parameters.values(), *training.velocities.values()]
            assert {value.dtype for value in stored} == {np.dtype(training.dtype)}
        double, single = runs
        distance = np.abs(double.logits(features) - single.logits(features)).max()
        assert 1e-10 < distance < 1e-5


def test_perturbed_copies_train_apart() -> None:
    """The ladder perturbs float64 weights by less than float32 could hold; that must show, and only there."""
    start = Training(SMOOTH, "cross-entropy", PLAIN, draw_parameters(SMOOTH)).parameters
    perturbed = {name: value * (1 + 1e-12) for name, value in start.items()}
    same, again, apart = (Training(SMOOTH, "cross-entropy", PLAIN, p) for p in (start, start, perturbed))
    features, labels = draw_samples(SMOOTH, "cross-entropy", 4)
    losses = [[training.step(features, labels) for _ in range(3)] for training in (same, again, apart)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    assert np.array_equal(same.logits(features), again.logits(features))
    assert_close(same.logits(features), apart.logits(features), 1e-10)


def test_logits_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(KINKED, "cross-entropy", PLAIN, draw_parameters(KINKED))
    features, _ = draw_samples(KINKED, "cross-entropy", 8)
    whole = training.logits(features)
    monkeypatch.setattr(reference, "PIECE", 3)
    assert_close(training.logits(features), whole, 1e-13)


def load(model: Model, loss: Loss, sgd: SGD) -> Reference:
    backend = Reference()
    backend.load(Job(model, loss, sgd, "numpy", draw_parameters(model)))
    return backend


def test_backend_returns_the_weights_it_was_given_to_the_bit() -> None:
    parameters = load(KINKED, "cross-entropy", PLAIN).parameters()
    expected = draw_parameters(KINKED)
    assert parameters.keys() == expected.keys()
    for name, value in expected.items():
        assert parameters[name].dtype == np.float32
        assert np.array_equal(parameters[name], value)


@pytest.mark.parametrize("loss", LOSSES)
def test_backend_trains_on_the_batches_in_their_order(loss: Loss) -> None:
    sgd = SGD(0.1, 0.9, True, 0.01)
    backend, training = load(KINKED, loss, sgd), Training(KINKED, loss, sgd, draw_parameters(KINKED))
    features, labels = draw_samples(KINKED, loss, 6)
    features.setflags(write=False)
    labels.setflags(write=False)
    data = backend.put(features, labels)
    batches = np.array([[5, 0], [2, 2], [1, 4], [3, 0]])
    before = backend.parameters()
    losses = [backend.synchronize(backend.train(data, part)) for part in (batches[:3], batches[3:])]
    expected = [training.step(features[list(batch)], labels[list(batch)]) for batch in batches]

    assert [part.dtype for part in losses] == [np.float32, np.float32]
    assert np.concatenate(losses).tolist() == np.array(expected, np.float32).tolist()
    logits = backend.predict(data)
    assert logits.dtype == np.float32
    assert np.array_equal(logits, training.logits(features).astype(np.float32))
    for name, value in backend.parameters().items():
        assert np.array_equal(value, training.parameters[name].astype(np.float32))
        assert np.array_equal(before[name], draw_parameters(KINKED)[name])


def test_divergence_is_told_by_the_losses_and_not_by_warnings() -> None:
    backend = load(FLAT, "mean-squared-error", SGD(1e6, 0.9, False, 0.0))
    data = backend.put(*draw_samples(FLAT, "mean-squared-error", 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = backend.synchronize(backend.train(data, np.tile(np.arange(4), (60, 1))))
        backend.predict(data)
        backend.parameters()
    assert math.isfinite(losses[0])
    assert not math.isfinite(losses[-1])


def test_a_gpu_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cpu only"):
        Reference().load(Job(FLAT, "cross-entropy", PLAIN, "numpy", draw_parameters(FLAT), device="gpu"))


def test_description_is_json_and_says_what_was_in_force() -> None:
    description = json.loads(json.dumps(load(FLAT, "cross-entropy", PLAIN).describe()))
    assert description["versions"]["numpy"] == np.__version__
    assert description["precision"] == "float64"
    assert description["threads"] is None
    assert description["device"]
    assert list(itertools.chain(Reference.modes, Reference.devices)) == ["numpy", "cpu"]
