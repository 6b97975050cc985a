"""A sweep is a cross product of values, read as an experiment file would read them."""

from __future__ import annotations

import pytest

from benchmarks.errors import InputError
from benchmarks.spec.sweep import points


def test_without_sweeps_there_is_one_point_that_changes_nothing() -> None:
    (point,) = points([])
    assert (point.label, point.overrides, point.threads) == ("", {}, None)


def test_sweeps_are_crossed() -> None:
    found = points(["batch_size=16,64", "threads=1,2", "sgd.nesterov=true"])
    assert [point.label for point in found] == [
        f"batch_size={size}, threads={threads}, sgd.nesterov=True" for size in (16, 64) for threads in (1, 2)
    ]
    assert found[0].overrides == {"batch_size": 16, "sgd.nesterov": True}, "threads are not in the experiment's file"
    assert found[0].threads == 1


def test_what_toml_cannot_read_is_text() -> None:
    assert [point.values["data.name"] for point in points(["data.name=digits,mnist"])] == ["digits", "mnist"]


@pytest.mark.parametrize(
    ("sweeps", "words"),
    [
        (["batch_size"], "write KEY=VALUE,VALUE"),
        (["=1"], "write KEY=VALUE,VALUE"),
        (["batch_size=1,,2"], "a value is empty"),
        (["batch_size=1", "batch_size=2"], "swept twice"),
        (["threads=0.5"], "whole and at least 1"),
        (["threads=0"], "whole and at least 1"),
        ([f"seed={','.join(map(str, range(40)))}", f"epochs={','.join(map(str, range(1, 41)))}"], "1,600 points"),
    ],
)
def test_what_is_wrong_is_told(sweeps: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        points(sweeps)
