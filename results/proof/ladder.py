"""The ladder of equal work, walked for every run before its speed counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backends import contract
from results.proof.audit import Audit, Continuation
from results.proof.judge import Expectation, Judgement


@dataclass(frozen=True)
class Evidence:
    """What a run showed of its work; arrays as they came from the worker.

    ``initial`` are the parameters right after ``load``, ``first_step`` those after one step; ``logits`` and
    ``trained_logits`` are the outputs for the judged samples before the first and after the last judged step;
    ``losses`` are those of all steps of the training; ``statistics`` are the running statistics after the last judged
    step, and possibly more.
    """

    initial: contract.Parameters
    logits: NDArray[np.float32]
    first_step: contract.Parameters
    losses: NDArray[np.float32]
    trained_logits: NDArray[np.float32]
    statistics: contract.Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Rung:
    """One comparison: how far the run was from the reference, how far it may be, and where it first left."""

    name: str
    figure: float
    tolerance: float
    where: str

    @property
    def holds(self) -> bool:
        """Whether the run is close enough; a figure that is not a number is not."""
        return self.figure <= self.tolerance

    def __str__(self) -> str:
        """For example "loss curve: off by 3e-05, allowed 2e-06, first left at step 2"."""
        text = f"{self.name}: off by {self.figure:.2g}, allowed {self.tolerance:.2g}"
        return text if self.holds or not self.where else f"{text}, {self.where}"


def walk(evidence: Evidence, judgement: Judgement) -> list[Rung]:
    """Climb rung by rung; the list ends with the first rung that does not hold."""
    rungs: list[Rung] = []
    statistics = (_statistics,) if judgement.statistics else ()
    for climb in (_weights, _logits, _first_loss, _first_step, _loss_curve, *statistics, _trained_logits, _accuracy):
        rungs.append(climb(evidence, judgement))
        if not rungs[-1].holds:
            break
    return rungs


def after_the_last_epoch(audit: Audit, continuation: Continuation) -> Rung:
    """Climb the rung above the others: the worker still trains as it did. It is not part of ``walk``."""
    name = "training after the last epoch"
    rungs = [_compare(name, audit.losses[: len(continuation.losses.values)], continuation.losses, "step")]
    for steps, expected in continuation.parameters.items():
        for parameter, values in expected.items():
            rung = _compare(name, audit.parameters[steps][parameter], values, "")
            rungs.append(Rung(name, rung.figure, rung.tolerance, f"first left at {layer_of(parameter)}, step {steps}"))
    return _first_to_leave(rungs)


def _weights(evidence: Evidence, judgement: Judgement) -> Rung:
    """Weights in = weights out, to the bit; the figure is the number of weights that are not."""
    name = "weights in = out"
    if evidence.initial.keys() != judgement.initial.keys():
        return Rung(name, np.inf, 0, f"parameters {sorted(evidence.initial)} instead of {sorted(judgement.initial)}")
    different, where = 0, ""
    for parameter, given in judgement.initial.items():
        returned = evidence.initial[parameter]
        if returned.shape != given.shape or returned.dtype != given.dtype:
            return Rung(
                name, np.inf, 0, f"{layer_of(parameter)} is {returned.dtype} {returned.shape}, not {given.shape}"
            )
        count = int((returned.view(np.uint32) != given.view(np.uint32)).sum())
        different += count
        where = where or (f"first left at {layer_of(parameter)}" if count else "")
    return Rung(name, different, 0, where)


def _logits(evidence: Evidence, judgement: Judgement) -> Rung:
    return _compare("logits", evidence.logits, judgement.logits, "sample")


def _first_loss(evidence: Evidence, judgement: Judgement) -> Rung:
    expected = Expectation(judgement.losses.values[:1], judgement.losses.tolerance[:1])
    return _compare("loss", evidence.losses[:1], expected, "step")


def _first_step(evidence: Evidence, judgement: Judgement) -> Rung:
    return _compare_named("weights after one step", evidence.first_step, judgement.first_step)


def _statistics(evidence: Evidence, judgement: Judgement) -> Rung:
    return _compare_named("running statistics", evidence.statistics, judgement.statistics)


def _compare_named(name: str, found: contract.Parameters, expectations: Mapping[str, Expectation]) -> Rung:
    """Each tensor has a tolerance of its own; the one that is furthest off, in units of it, gives the figure."""
    rungs = []
    for parameter, expected in expectations.items():
        values = found.get(parameter)
        if values is None or values.shape != expected.values.shape:
            return Rung(name, np.inf, 0, f"{layer_of(parameter)} is missing or has another shape")
        rung = _compare(name, values, expected, "")
        rungs.append(Rung(name, rung.figure, rung.tolerance, f"first left at {layer_of(parameter)}"))
    return _first_to_leave(rungs)


def _loss_curve(evidence: Evidence, judgement: Judgement) -> Rung:
    return _compare("loss curve", evidence.losses[: judgement.steps], judgement.losses, "step")


def _trained_logits(evidence: Evidence, judgement: Judgement) -> Rung:
    return _compare("outputs after training", evidence.trained_logits, judgement.trained_logits, "sample")


def _accuracy(evidence: Evidence, judgement: Judgement) -> Rung:
    """Share of the judged samples that are right; off by no more than the samples whose class is a close call."""
    decisions = judgement.decisions
    if decisions is None:
        return Rung("test accuracy", 0, 0, "")
    correct = int((evidence.trained_logits.argmax(axis=1) == decisions.labels).sum())
    figure, tolerance = abs(correct - decisions.correct), decisions.ambiguous
    return Rung("test accuracy", figure / len(decisions.labels), tolerance / len(decisions.labels), "")


def _first_to_leave(rungs: list[Rung]) -> Rung:
    """Choose among several comparisons; if all hold, the one that is furthest off in units of its tolerance."""
    left = [rung for rung in rungs if not rung.holds]
    return left[0] if left else max(rungs, key=lambda rung: rung.figure / rung.tolerance)


def _compare(name: str, values: NDArray[np.float32], expected: Expectation, unit: str) -> Rung:
    """Compare with the expectation, element by element or with one tolerance for all."""
    if values.shape != expected.values.shape:
        return Rung(name, np.inf, 0, f"shape {values.shape} instead of {expected.values.shape}")
    distance = np.abs(values.astype(np.float64) - expected.values)
    tolerance = np.broadcast_to(expected.tolerance, distance.shape)
    left = ~(distance <= tolerance)
    if left.any():
        worst = int(np.argmax(left))
        first = np.unravel_index(worst, left.shape)[0]
        where = f"first left at {unit} {first + 1}" if unit else ""
    else:
        worst, where = int(np.argmax(distance / np.maximum(tolerance, np.finfo(np.float64).tiny))), ""
    return Rung(name, float(distance.flat[worst]), float(tolerance.flat[worst]), where)


def layer_of(parameter: str) -> str:
    """Turn "2.weight" into words, "3.layers.1.running_var" into "the running var of layers[3].layers[1]"."""
    *path, kind = parameter.split(".")
    if kind.endswith("_moment"):
        return f"the {kind.replace('_', ' ')} of {layer_of('.'.join(path))}"
    return f"the {kind.replace('_', ' ')} of {place_of('.'.join(path))}"


def place_of(layer: str) -> str:
    """Turn "2" into "layers[2]", and "3.layers.1" into "layers[3].layers[1]"."""
    words = ["layers", *layer.split(".")]
    return ".".join(f"{word}[{index}]" for word, index in zip(words[::2], words[1::2], strict=True))
