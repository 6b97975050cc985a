"""The data sets that are computed from a seed, and the digits that come with scikit-learn."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmarks.data.generated import generate_images
from benchmarks.spec.data import GeneratedImages
from tests.benchmarks.data.helpers import nearest_mean_accuracy, prepared


def test_least_squares_finds_the_line_again() -> None:
    data = prepared({"name": "linear-regression"})
    features, targets = data.load("train")
    assert features.shape == (1000, 2)
    assert targets.shape == (1000, 1)
    assert targets.dtype == np.float32
    design = np.column_stack([features, np.ones(len(features))])
    found, residual, *_ = np.linalg.lstsq(design, targets[:, 0], rcond=None)
    np.testing.assert_allclose(found, [2, -3.4, 4.2], atol=0.01)
    assert np.sqrt(residual[0] / len(targets)) == pytest.approx(0.01, rel=0.15)
    np.testing.assert_allclose([features.mean(), features.std()], [0, 1], atol=0.1)


def test_test_set_lies_on_the_same_line_but_has_samples_of_its_own() -> None:
    data = prepared({"name": "linear-regression", "noise": 0.0, "samples": 50, "test_samples": 50})
    features, targets = data.load("test")
    np.testing.assert_allclose(features @ [[2], [-3.4]] + 4.2, targets, atol=1e-5)
    assert not np.isin(features, data.load("train")[0]).any()


def test_a_regression_has_no_classes_and_is_not_normalised() -> None:
    data = prepared({"name": "linear-regression"})
    assert data.classes == ()
    assert data.input_shape == (2,)


@pytest.mark.parametrize("shape", [[1, 8, 8], [3, 16, 12]])
def test_generated_images_can_be_learnt(shape: list[int]) -> None:
    table = {"name": "generated-images", "shape": shape, "samples": 1000, "test_samples": 500, "noise": 0.3}
    data = prepared(table)
    features, labels = data.load("train")
    model = LogisticRegression(max_iter=500).fit(features.reshape(len(features), -1), labels)
    test, expected = data.load("test")
    assert model.score(test.reshape(len(test), -1), expected) > 0.9


def test_noise_makes_generated_images_harder() -> None:
    def accuracy(noise: float) -> float:
        table = {"name": "generated-images", "shape": [1, 8, 8], "samples": 1000, "test_samples": 500, "noise": noise}
        return nearest_mean_accuracy(prepared(table))

    assert accuracy(0.1) > 0.99
    assert accuracy(5.0) < 0.6


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    classes=st.integers(2, 12),
    samples=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_generated_images_have_the_shape_and_the_balance_asked_for(
    shape: tuple[int, int, int], classes: int, samples: int, seed: int
) -> None:
    table = {"name": "generated-images", "shape": shape, "classes": classes, "samples": samples, "seed": seed}
    data = prepared({**table, "test_samples": 5})
    features, labels = data.load("train")
    assert features.shape == (samples, *shape)
    assert 0 <= features.min() <= features.max() <= 1
    assert np.ptp(np.bincount(labels, minlength=classes)) <= 1
    assert len(data.classes) == classes


def test_generated_images_do_not_depend_on_how_they_are_asked_for() -> None:
    spec = GeneratedImages(name="generated-images", shape=(1, 5, 5), samples=20, test_samples=20)
    rows = generate_images(spec).train.rows
    together = rows(np.arange(20))
    np.testing.assert_array_equal(rows(np.array([7, 3])), together[[7, 3]])
    assert len(np.unique(together.reshape(20, -1), axis=0)) == 20
    assert not np.array_equal(generate_images(spec).test.rows(np.arange(20)), together)


@pytest.mark.parametrize("table", [{"name": "linear-regression"}, {"name": "generated-images", "shape": [1, 4, 4]}])
def test_the_seed_decides(table: dict[str, Any]) -> None:
    assert prepared({**table, "seed": 1}).hash == prepared({**table, "seed": 1}).hash
    assert prepared({**table, "seed": 1}).hash != prepared({**table, "seed": 2}).hash


def test_digits_are_those_of_scikit_learn() -> None:
    data = prepared({"name": "digits"})
    assert data.input_shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    features = np.concatenate([data.load("train")[0], data.load("test")[0]])
    labels = np.concatenate([data.load("train")[1], data.load("test")[1]])
    digits = load_digits()
    ours = np.column_stack([features.reshape(-1, 64) * 16, labels])
    theirs = np.column_stack([digits.data, digits.target])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_a_fifth_of_each_digit_is_the_test_set() -> None:
    data = prepared({"name": "digits"})
    test = np.bincount(data.load("test")[1])
    both = test + np.bincount(data.load("train")[1])
    np.testing.assert_allclose(test / both, 0.2, atol=0.005)


def test_digits_can_be_learnt() -> None:
    assert nearest_mean_accuracy(prepared({"name": "digits"})) > 0.85
