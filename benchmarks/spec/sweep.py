"""Sweeps: one experiment at many points, each a choice of values for some keys of its file, or of the threads."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.errors import InputError

LARGEST = 1000
"""Points of a sweep."""


@dataclass(frozen=True)
class Point:
    """Values by the dotted name of their key in the experiment's file; "threads" is not in the file, but a key too."""

    values: dict[str, Any]

    @property
    def label(self) -> str:
        """For example "batch_size=64, threads=2"; empty for the point of no sweep."""
        return ", ".join(f"{key}={value}" for key, value in self.values.items())

    @property
    def overrides(self) -> dict[str, Any]:
        """The values that go into the experiment."""
        return {key: value for key, value in self.values.items() if key != "threads"}

    @property
    def threads(self) -> int | None:
        """The number of threads, if it is swept."""
        return self.values.get("threads")


def points(sweeps: Sequence[str]) -> list[Point]:
    """Return the cross product of sweeps such as "batch_size=16,64,256"; one empty point if there are none.

    Raises InputError if one is not written so, a key comes twice, or there are too many points.
    """
    axes: dict[str, list[Any]] = {}
    for text in sweeps:
        key, equals, values = text.partition("=")
        if not key or not equals or not values:
            raise InputError(f"--sweep {text}: write KEY=VALUE,VALUE, such as batch_size=16,64,256")
        if key in axes:
            raise InputError(f"--sweep {text}: {key} is swept twice; write all its values in one list")
        axes[key] = [_value(text, value) for value in values.split(",")]
        if len({str(value) for value in axes[key]}) < len(axes[key]):
            raise InputError(f"--sweep {text}: a value comes twice; write each once")
        if key == "threads" and not all(isinstance(value, int) and value > 0 for value in axes[key]):
            raise InputError(f"--sweep {text}: numbers of threads are whole and at least 1")
    count = 1
    for values_of_key in axes.values():
        count *= len(values_of_key)
    if count > LARGEST:
        raise InputError(f"--sweep: {count:,} points are more than {LARGEST:,}; sweep fewer values")
    return [Point(dict(zip(axes, chosen, strict=True))) for chosen in itertools.product(*axes.values())]


def _value(text: str, value: str) -> Any:
    """A value as TOML would read it; what TOML cannot read is taken as text."""
    if not value.strip():
        raise InputError(f"--sweep {text}: a value is empty; write KEY=VALUE,VALUE")
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value.strip()
