"""What the judge allows where numbers are too small for float32's normal ones, and how far it follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends.contract import SGD, SMALLEST_NORMAL, Linear, Model, Parameters, ReLU
from backends.float64 import training as float64
from backends.float64.training import Training
from results.proof.audit import Audit, continue_from
from results.proof.judge import Case, judge, moved
from results.proof.ladder import Evidence, Rung, after_the_last_epoch, walk

STEPS = 150
SNAPSHOTS = (0, 1, 4, 24)
"""Steps of the audit after which the parameters are shown."""

Change = Callable[[Any], Any]


def vanishing(sgd: SGD, steps: int = STEPS) -> Case:
    """A model whose weights, but for the last bias, all become too small for float32."""
    generator = np.random.default_rng(5)
    model = Model((6,), (Linear(6, 8), ReLU(), Linear(8, 3)))
    shapes = {"0.weight": (8, 6), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
    initial = {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    features = generator.normal(size=(60, 6)).astype(np.float32)
    labels = generator.integers(0, 3, 60).astype(np.int32)
    batches = [generator.choice(60, 10, replace=False) for _ in range(steps)]
    return Case(model, "cross-entropy", sgd, initial, features, labels, batches, steps, features, labels, "float32")


def vanishing_line() -> Case:
    """A line through zero: its outputs and losses vanish with its weights."""
    case = vanishing(SGD(0.5, 0.0, False, 1.0))
    initial = {name: case.initial[f"2.{name[2:]}"] for name in ("0.weight", "0.bias")}
    targets = np.zeros((60, 3), np.float32)
    features = np.resize(case.features, (60, 8)) / np.float32(4)
    return replace(
        case,
        model=Model((8,), (Linear(8, 3),)),
        loss="mean-squared-error",
        initial=initial,
        features=features,
        labels=targets,
        judged_features=features,
        judged_labels=targets,
    )


def test_a_copy_starts_one_float_off_but_for_zeros() -> None:
    """A second moment of Adam that is 0, as of a pixel that is always dark, would become negative."""
    values = np.array([0.0, 1.0, -2.0, 3e-20, 0.0], np.float32)
    for seed in range(10):
        (off,) = moved({"0.weight": values}, np.random.default_rng(seed)).values()
        assert off.dtype == np.float32
        assert (np.abs(off - values) <= np.spacing(np.abs(values))).all()
        assert ((off == values) == (values == 0)).all()


def flush(values: Any) -> Any:
    return np.where(np.abs(values) < SMALLEST_NORMAL, 0, values).astype(np.float32)


def keep(values: Any) -> Any:
    return values


class Contestant(Training):
    """Trains in float32; ``change`` is done to the result of every operation of the optimizer."""

    change: Change = staticmethod(keep)

    def step(self, features: Any, labels: Any, watch: Any = None, rate: float | None = None) -> float:
        own, before = self.change, self.parameters
        loss, gradients, _ = self.gradients(features, labels)
        for name, g in gradients.items():
            p, v, sgd = before[name], self.state.get(name), self.optimizer
            assert isinstance(sgd, SGD)
            g = own(g + own(np.float32(sgd.weight_decay) * p))
            v = g if v is None else own(own(np.float32(sgd.momentum) * v) + g)
            u = own(g + own(np.float32(sgd.momentum) * v)) if sgd.nesterov else v
            self.parameters = {**self.parameters, name: own(p - own(np.float32(sgd.learning_rate) * u))}
            self.state[name] = v
        return float(own(np.float32(loss)))


def flushing(case: Case, monkeypatch: pytest.MonkeyPatch) -> tuple[Evidence, Audit]:
    """The work of one that makes 0 of every subnormal number, as JAX does on the CPU."""
    with monkeypatch.context() as patch:
        for name in ("rounded", "rounded_sum"):
            patch.setattr(float64, name, lambda values, rounding: flush(values))
        return work(case, flush)


def work(case: Case, change: Change = keep, afterwards: Change | None = None) -> tuple[Evidence, Audit]:
    """Train the case, and then the steps of an audit, where ``afterwards`` may be done instead of ``change``."""
    contestant = Contestant(case.model, case.loss, case.optimizer, case.initial, np.float32)
    contestant.change = change
    outputs = [contestant.logits(case.judged_features)]
    losses: list[float] = []
    first_step: Parameters = {}
    for batch in case.batches:
        losses.append(contestant.step(case.features[batch], case.labels[batch]))
        first_step = first_step or snapshot(contestant)
    outputs.append(contestant.logits(case.judged_features))
    before, after = (values.astype(np.float32) for values in outputs)
    evidence = Evidence(case.initial, before, first_step, np.array(losses, np.float32), after)
    contestant.change = afterwards or change
    parameters, more = {0: snapshot(contestant)}, []
    for step, batch in enumerate(case.batches[: max(SNAPSHOTS)], 1):
        more.append(contestant.step(case.features[batch], case.labels[batch]))
        if step in SNAPSHOTS:
            parameters[step] = snapshot(contestant)
    return evidence, Audit(case.batches[: max(SNAPSHOTS)], np.array(more, np.float32), parameters, 0.1)


def snapshot(contestant: Training) -> Parameters:
    return {name: values.astype(np.float32) for name, values in contestant.parameters.items()}


def climb(case: Case, shown: tuple[Evidence, Audit]) -> list[Rung]:
    evidence, audit = shown
    return [*walk(evidence, judge(case, 60)), after_the_last_epoch(audit, continue_from(case, audit, 60))]


CASES = {
    "plain": vanishing(SGD(0.1, 0.0, False, 5.0)),
    "slow": vanishing(SGD(0.1, 0.0, False, 2.0), steps=430),
    "momentum": vanishing(SGD(0.1, 0.5, False, 5.0), steps=280),
    "nesterov": vanishing(SGD(0.1, 0.5, True, 5.0)),
    "line": vanishing_line(),
}


@pytest.mark.parametrize("name", CASES)
def test_subnormal_numbers_are_no_difference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    kept, flushed = work(case), flushing(case, monkeypatch)
    small = [audit.parameters[0]["0.weight"] for _, audit in (kept, flushed)]
    assert all(np.abs(values).max() < 1e-34 for values in small), "these are small enough"
    for shown in (kept, flushed):
        assert [str(rung) for rung in climb(case, shown) if not rung.holds] == []


def lazy(values: Any) -> Any:
    """What the optimizer computes, but 0 where it is small, though not as small as the smallest normal numbers."""
    return np.where(np.abs(values) < 300 * SMALLEST_NORMAL, 0, values)


def test_who_spares_the_work_on_small_weights_is_found_out_above_the_floor() -> None:
    case = vanishing(SGD(0.1, 0.0, False, 5.0), steps=114)
    honest, lazy_one = work(case), work(case, afterwards=lazy)
    assert climb(case, honest)[-1].holds
    assert not climb(case, lazy_one)[-1].holds


def test_a_busy_machine_costs_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets are of processor time: to wait for a processor is not to work."""
    case = vanishing(SGD(0.1, 0.0, False, 0.0), steps=30)
    _, audit = work(case)
    step = Training.step

    def waiting_step(*arguments: Any, **options: Any) -> float:
        time.sleep(0.02)
        return step(*arguments, **options)

    monkeypatch.setattr(Training, "step", waiting_step)
    assert judge(case, 0.25).steps == 30
    assert len(continue_from(case, audit, 0.25).losses.values) == max(SNAPSHOTS)


@pytest.mark.parametrize("learning_rate", [1e-3, 0.1, 8.0])
def test_what_the_floor_allows_is_nothing_to_a_model_of_usual_size(learning_rate: float) -> None:
    case = vanishing(SGD(learning_rate, 0.999, True, 0.0))
    assert case.flushed(10**6) < 1e-27
    assert case.flushed(0) == SMALLEST_NORMAL
