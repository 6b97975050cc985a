"""What rungs look at and what they say: the evidence of one mode, findings, and how far off something is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.proof.judge import Expectation, Judgement
from tests.conformance.cases import Files
from tests.conformance.measuring import Threads, Timing
from tests.conformance.recording import Recording

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
class Odd:
    """What layers make of odd values: the outputs that the reference gives, and those that were found, if any."""

    expected: NDArray[np.float64]
    found: NDArray[np.float32] | None


@dataclass(frozen=True)
class Evidence:
    """All that one mode shows. Who looks at something waits until it is there."""

    files: dict[str, Files]
    judgements: Mapping[str, Judgement]
    recordings: Mapping[str, Recording]
    repeated: Recording
    whole: Recording
    single_steps: Recording
    loader: Recording
    gpu: Future[tuple[str, str]]
    gpu_declared: bool
    wrong_layer: Callable[[str], str]
    """Finds the first layer of an example whose outputs are wrong."""
    ties: tuple[Files, Recording] | None
    """An example whose max pools have nothing but ties; None if no example has a max pool."""
    odd: Future[Mapping[str, Odd]] | None
    """What each layer makes of odd values; None in a quick kit, as the following ones."""
    threads: Future[Threads] | None
    timing: Callable[[], Timing] | None
    """Times windows; nothing else is to run meanwhile."""

    @property
    def with_all_cores(self) -> Recording:
        """The example that is trained twice, for the first time."""
        return self.recordings[self.repeated.example.name]


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
