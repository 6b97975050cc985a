"""Where the losses of a run part from the reference's, and the decision of a ReLU or a max pool that parted them.

A training is smooth but for such decisions: which sign the input of a ReLU has, and which element of a window is the
largest. Where float64 has an input within a few roundings of a tie, float32 may decide otherwise, and from that step
on two honest runs do not take the same way. The proof is an experiment: the reference takes the step once more with the
decision turned, and either comes to the losses of the run or does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import LeakyReLU, MaxPool2d, ReLU, named_layers
from backends.float64.training import Training, Watch
from backends.float64.windows import places
from results.proof.judge import ROUNDING, Case
from results.proof.ladder import place_of
from results.record import Say

JUMP = 4.0
"""A loss has parted if it is so many times further off than any before it; rounding alone grows little by little.

Of the curves in results/reference, those that stay together grow 2.1-fold from a step to the next at most, and those
that part 6.0-fold at least.
"""

LOOK_BACK = 3
"""Steps before the parting whose decisions are tried: the effect of one may be small at first."""

CLOSEST = 8
"""Decisions of each of these steps that are tried, those closest to a tie."""

EXPLAINED = 4.0
"""With the right decision turned, the reference is at least so many times closer to the run than without."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """One decision of the reference, and how it is turned."""

    step: int
    """Counted from 1."""
    layer: str
    """Its name: "3", or "3.layers.1" in a residual block."""
    kind: str
    sample: int
    """Its number in the training set."""
    place: tuple[int, ...]
    """In what the layer gives for the sample: a unit, or channel, row and column."""
    margin: float
    """Distance from the tie, in roundings of the largest input of the layer in this batch."""
    element: tuple[int, ...]
    """Of the layer's input ``[n, ...]``, that has to change for the other decision ..."""
    change: float
    """... by so much."""

    def turn(self, layer: str, x: Array) -> Array:
        """Change the input of the layer; give others theirs as it is."""
        if layer != self.layer:
            return x
        turned = x.copy()
        turned[self.element] += self.change
        return turned


@dataclass(frozen=True)
class Parting:
    """A loss that is much further off than all before it; ``step`` counts from 1."""

    step: int
    before: float
    """How far the losses before it were off, at most."""
    distance: float
    decision: Decision | None
    """The one that explains it; None if none does."""

    @property
    def document(self) -> dict[str, Any]:
        """What a row keeps."""
        found: dict[str, Any] = {"step": self.step, "before": self.before, "distance": self.distance}
        if self.decision:
            kept = ("step", "layer", "kind", "sample", "place", "margin")
            found["decision"] = {name: getattr(self.decision, name) for name in kept}
        return found


def sentence(document: Mapping[str, Any], say: Say = str) -> str:
    """What a reader is told of a parting that a row holds."""
    pattern = say("parts from the reference at step {step} ({distance} off, {before} at most before)")
    begin = pattern.format(
        step=document["step"], distance=f"{document['distance']:.1e}", before=f"{document['before']:.1e}"
    )
    if "decision" not in document:
        return begin + say("; no ReLU or max pool that is close to a tie explains it")
    decision = {**document["decision"], "margin": f"{document['decision']['margin']:.2g}"}
    decision["place"] = ", ".join(map(str, decision["place"]))
    decision["layer"] = place_of(str(decision["layer"]))
    return begin + say(
        ": in step {step} the {kind} {layer} was within {margin} roundings of a tie, for sample {sample} at "
        "{place}, and took the other side"
    ).format(**decision)


def first_apart(losses: NDArray[Any], reference: Array) -> int | None:
    """The index of the first loss that has parted; None if all stay together."""
    distance = np.abs(losses.astype(np.float64) - reference)
    before = np.maximum.accumulate(np.maximum(distance, ROUNDING * np.abs(reference)))
    apart = np.flatnonzero(distance[1:] > JUMP * before[:-1])
    return int(apart[0]) + 1 if len(apart) else None


class Partings:
    """Explains the partings of an experiment's runs; what the reference trains for one run serves the others."""

    def __init__(self, case: Case) -> None:
        """Train nothing yet."""
        self._case, self._layers = case, dict(named_layers(case.model.layers))
        self._tried: dict[int, list[tuple[Decision, float]]] = {}

    def explain(self, losses: NDArray[np.float32], reference: Array) -> Parting | None:
        """Find the first parting among the judged steps, and what parted them; None if there is none."""
        step = first_apart(losses[: len(reference)], reference)
        if step is None:
            return None
        distances = np.abs(losses[: step + 1].astype(np.float64) - reference[: step + 1])
        tried = self._turned(step)
        decision, loss = min(tried, key=lambda pair: abs(pair[1] - float(losses[step])), default=(None, np.inf))
        explained = abs(loss - float(losses[step])) * EXPLAINED <= distances[step]
        return Parting(step + 1, float(distances[:step].max()), float(distances[step]), decision if explained else None)

    def _turned(self, step: int) -> list[tuple[Decision, float]]:
        """Decisions that may part the losses at index ``step``, and the loss there with each of them turned."""
        if step not in self._tried:
            self._tried[step] = list(self._try(step))
        return self._tried[step]

    def _try(self, step: int) -> Iterator[tuple[Decision, float]]:
        run = self._case.training(self._case.initial)
        first = max(0, step - LOOK_BACK)
        for index in range(first):
            self._step(run, index)
        for index in range(first, step):
            before = run.parameters.copy(), run.state.copy()
            found: list[Decision] = []
            self._step(run, index, partial(self._look, found, index))
            after = run.parameters, run.state
            for decision in sorted(found, key=lambda one: one.margin)[:CLOSEST]:
                run.parameters, run.state = before[0].copy(), before[1].copy()
                self._step(run, index, decision.turn)
                yield decision, [self._step(run, later) for later in range(index + 1, step + 1)][-1]
            run.parameters, run.state = after

    def _step(self, run: Training, index: int, watch: Watch | None = None) -> float:
        return self._case.step(run, index, watch)

    def _look(self, found: list[Decision], index: int, layer: str, x: Array) -> Array:
        """Keep the decisions of a layer that are closest to a tie."""
        kind = self._layers[layer]
        rounding = ROUNDING * float(np.abs(x).max())
        if isinstance(kind, ReLU | LeakyReLU | MaxPool2d) and rounding:
            closest = _of_max_pool(kind, x) if isinstance(kind, MaxPool2d) else _of_relu(x)
            for place, gap, element, change in closest:
                sample = int(self._case.batches[index][place[0]])
                name = "max pool" if isinstance(kind, MaxPool2d) else "ReLU"
                found.append(Decision(index + 1, layer, name, sample, place[1:], gap / rounding, element, change))
        return x


Place = tuple[int, ...]


def _of_relu(x: Array) -> Iterator[tuple[Place, float, Place, float]]:
    """The inputs closest to 0 but not 0: where, how far, which element changes, and by how much."""
    for place in _smallest(np.where(x == 0, np.inf, np.abs(x))):
        yield place, abs(float(x[place])), place, -2 * float(x[place])


def _of_max_pool(layer: MaxPool2d, x: Array) -> Iterator[tuple[Place, float, Place, float]]:
    """The same of the windows whose two largest are closest, but not equal."""
    top, left = layer.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=-np.inf)
    windows = np.stack(places(padded, layer.kernel, layer.stride))
    if len(windows) == 1:
        return
    order = np.argsort(windows, axis=0)[-2:]
    second, first = np.take_along_axis(windows, order, axis=0)
    gaps = first - second
    for place in _smallest(np.where(gaps == 0, np.inf, gaps)):
        row, column = divmod(int(order[0][place]), layer.kernel[1])
        n, channel, p, q = place
        element = (n, channel, p * layer.stride[0] + row - top, q * layer.stride[1] + column - left)
        yield place, float(gaps[place]), element, 2 * float(gaps[place])


def _smallest(values: Array) -> Iterator[Place]:
    """Where the smallest finite values are, up to ``CLOSEST``."""
    count = min(CLOSEST, values.size)
    for flat in np.argpartition(values, count - 1, axis=None)[:count]:
        if np.isfinite(values.flat[flat]):
            yield tuple(int(i) for i in np.unravel_index(flat, values.shape))
