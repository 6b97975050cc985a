"""What rungs look at and what they say: the evidence of one mode, findings, and how far off something is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.proof.judge import Expectation, Judgement
from tests.conformance.cases import Files
from tests.conformance.recording import Recording, Timing

Named = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Finding:
    """What a rung found; ``advice`` is shown if it does not hold: what is expected, and what to write next."""

    holds: bool
    figure: str
    advice: str = ""


@dataclass(frozen=True)
class Rung:
    """One line of the list."""

    name: str
    finding: Finding


@dataclass(frozen=True)
class Evidence:
    """All that one mode showed; ``wrong_layers`` says for an example which of its layers is the first wrong one."""

    files: Mapping[str, Files]
    judgements: Mapping[str, Judgement]
    recordings: Mapping[str, Recording]
    repeated: Recording
    whole: Recording
    single_steps: Recording
    loader: Recording
    gpu: tuple[str, str]
    gpu_declared: bool
    timing: Timing | str | None
    """A string says why there is none; with None, none was asked for."""
    wrong_layers: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """The element that is furthest off, in units of its tolerance."""

    distance: float
    allowed: float
    where: str

    @property
    def share(self) -> float:
        """1 is just allowed; infinite if the element is not a number."""
        return self.distance / self.allowed if np.isfinite(self.distance) else np.inf

    @property
    def holds(self) -> bool:
        """Whether it is allowed."""
        return bool(self.distance <= self.allowed)

    def __str__(self) -> str:
        """For example "largest difference 3.1e-08, allowed 2.4e-07"."""
        text = f"largest difference {self.distance:.1e}, allowed {self.allowed:.1e}"
        return text if self.holds else f"{text}, at {self.where}"


def compare(values: NDArray[np.float32], expected: Expectation, name: str) -> Difference:
    """Compare element by element; ``name`` is what an element is called."""
    if values.shape != expected.values.shape:
        return Difference(np.inf, 0.0, f"{name}: shape {values.shape} instead of {expected.values.shape}")
    distance = np.abs(values.astype(np.float64) - expected.values)
    allowed = np.broadcast_to(expected.tolerance, distance.shape)
    worst = int(np.argmax(np.where(np.isfinite(distance), distance / allowed, np.inf)))
    index = [int(i) for i in np.unravel_index(worst, distance.shape)]
    return Difference(float(distance.flat[worst]), float(allowed.flat[worst]), f"{name} {index}")


def worst(differences: Iterable[Difference]) -> Difference:
    """Return the one that is furthest off."""
    return max(differences, key=lambda difference: difference.share)


def difference_in_bits(found: Named, given: Named) -> str:
    """Say which parameter is not the same to the bit, and how; empty if all are."""
    if found.keys() != given.keys():
        return f"the names are {', '.join(found)}; they have to be {', '.join(given)}"
    for name, values in given.items():
        other = found[name]
        if other.shape != values.shape or other.dtype != values.dtype:
            return f"{name} is {other.dtype} {other.shape}; it has to be {values.dtype} {values.shape}"
        if other.tobytes() != values.tobytes():
            if values.ndim == 2 and values.size == other.size and np.array_equal(other.reshape(-1), values.T.ravel()):
                return f"{name} is transposed"
            return f"{name} differs in {np.count_nonzero(other != values)} of {values.size} values"
    return ""


def largest_difference(some: Named, others: Named) -> float:
    """The largest difference; infinite if names or shapes differ, or if something is not a number."""
    if {name: value.shape for name, value in some.items()} != {name: value.shape for name, value in others.items()}:
        return np.inf
    largest = max(float(np.max(np.abs(some[name] - others[name]))) for name in others)
    return largest if np.isfinite(largest) else np.inf
