"""The `[data]` table of an experiment."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.spec.data import VALUES_LIMIT, GeneratedImages, LinearRegression
from tests.benchmarks.data.helpers import SPEC

SMALLEST: list[dict[str, Any]] = [
    {"name": "digits"},
    {"name": "linear-regression"},
    {"name": "generated-images", "shape": [1, 4, 4]},
    {"name": "mnist"},
    {"name": "fashion-mnist"},
    {"name": "cifar10"},
    {"name": "picture-folder", "path": "pictures", "size": [8, 8]},
]

HUGE: dict[str, Any] = {"name": "generated-images", "shape": [3, 1024, 1024], "samples": 1, "test_samples": 1}


def ids(table: dict[str, Any]) -> str:
    return str(table["name"])


@pytest.mark.parametrize("table", SMALLEST, ids=ids)
def test_every_data_set_is_told_by_its_name(table: dict[str, Any]) -> None:
    assert SPEC.validate_python(table).name == table["name"]


@pytest.mark.parametrize("table", SMALLEST, ids=ids)
def test_unknown_keys_are_rejected(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SPEC.validate_python({**table, "men": [0.5]})


def test_unknown_data_set_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="'fashion-mnist'"):
        SPEC.validate_python({"name": "imagenet"})


def test_reads_from_toml() -> None:
    table = tomllib.loads('name = "fashion-mnist"\nmean = [0.2860]\nstd = [0.3530]')
    spec = SPEC.validate_python(table)
    expected = {"name": "fashion-mnist", "mean": (0.286,), "std": (0.353,)}
    assert SPEC.dump_python(spec, exclude_unset=True) == expected


def test_the_regression_of_the_tutorial_is_the_default() -> None:
    spec = LinearRegression(name="linear-regression")
    assert (spec.weights, spec.bias, spec.noise, spec.samples) == ((2, -3.4), 4.2, 0.01, 1000)


@pytest.mark.parametrize("table", [table for table in SMALLEST if table["name"] != "linear-regression"], ids=ids)
@pytest.mark.parametrize("key", ["mean", "std"])
def test_normalisation_needs_one_number_per_channel(table: dict[str, Any], key: str) -> None:
    channels = 3 if table["name"] in ("cifar10", "picture-folder") else 1
    assert SPEC.validate_python({**table, key: [0.5] * channels})
    with pytest.raises(ValidationError, match=rf"{key} needs one number per channel \({channels}\), it has 2"):
        SPEC.validate_python({**table, key: [0.5] * 2})


def test_grey_pictures_have_one_channel() -> None:
    SPEC.validate_python({**SMALLEST[-1], "greyscale": True, "mean": [0.5]})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"name": "mnist", "mean": [72.9]}, "less than or equal to 1"),
        ({"name": "mnist", "std": [0.0]}, "greater than or equal to 0.000001"),
        ({"name": "mnist", "mean": ["0.5"]}, "valid number"),
        ({"name": "linear-regression", "weights": []}, "at least 1 item"),
        ({"name": "linear-regression", "bias": float("nan")}, "finite number"),
        ({"name": "linear-regression", "samples": 10**9}, "less than or equal to 1000000"),
        ({"name": "linear-regression", "samples": "10"}, "valid integer"),
        ({"name": "linear-regression", "seed": -1}, "greater than or equal to 0"),
        ({"name": "generated-images", "shape": [28, 28]}, "Field required"),
        ({"name": "generated-images", "shape": [1, 0, 4]}, "greater than or equal to 1"),
        ({**HUGE, "classes": 22}, "classes . 3145728 values of one image exceeds 67108864"),
        ({"name": "picture-folder", "path": "pictures"}, "Field required"),
    ],
)
def test_values_without_sense_are_rejected(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SPEC.validate_python(table)


@given(
    channels=st.integers(1, 64),
    height=st.integers(1, 1024),
    width=st.integers(1, 1024),
    samples=st.integers(1, 10_000_000),
    test_samples=st.integers(1, 10_000_000),
)
def test_no_generated_set_is_absurdly_large(**sizes: int) -> None:
    values = sizes["channels"] * sizes["height"] * sizes["width"]
    table = {
        "name": "generated-images",
        "shape": [sizes["channels"], sizes["height"], sizes["width"]],
        "classes": 2,
        "samples": sizes["samples"],
        "test_samples": sizes["test_samples"],
    }
    fits = (sizes["samples"] + sizes["test_samples"]) * values <= VALUES_LIMIT and 2 * values <= 2**26
    if fits:
        assert isinstance(SPEC.validate_python(table), GeneratedImages)
    else:
        with pytest.raises(ValidationError, match="exceeds"):
            SPEC.validate_python(table)


def test_every_key_is_described_for_editors() -> None:
    for model in SPEC.json_schema()["$defs"].values():
        assert model["description"]
        assert all("description" in key for name, key in model["properties"].items() if name != "name")
