"""The judge's tolerance follows the experiment, and the ladder names the first rung that does not hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends.contract import SGD, Linear, Model, ReLU
from backends.float64.training import Training
from results.proof.judge import Case, judge
from results.proof.ladder import Evidence, walk

MODEL = Model((6,), (Linear(6, 8), ReLU(), Linear(8, 3)))


@pytest.fixture(scope="module")
def case() -> Case:
    generator = np.random.default_rng(5)
    shapes = {"0.weight": (8, 6), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
    initial = {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    features = generator.normal(size=(60, 6)).astype(np.float32)
    labels = generator.integers(0, 3, 60).astype(np.int32)
    batches = [generator.choice(60, 10, replace=False) for _ in range(30)]
    sgd = SGD(0.1, 0.9, True, 0.01)
    return Case(
        MODEL, "cross-entropy", sgd, initial, features, labels, batches, 30, features[:20], labels[:20], "float32"
    )


@pytest.fixture(scope="module")
def evidence(case: Case) -> Evidence:
    """An honest contestant: the same training in float32."""
    training = Training(case.model, case.loss, case.optimizer, case.initial, np.float32)
    logits = training.logits(case.judged_features)
    losses: list[float] = []
    first_step: dict[str, Any] = {}
    for batch in case.batches:
        losses.append(training.step(case.features[batch], case.labels[batch]))
        first_step = first_step or dict(training.parameters)
    trained = training.logits(case.judged_features)
    return Evidence(
        initial=case.initial,
        logits=logits.astype(np.float32),
        first_step={name: values.astype(np.float32) for name, values in first_step.items()},
        losses=np.array(losses, np.float32),
        trained_logits=trained.astype(np.float32),
    )


def test_an_honest_run_climbs_every_rung(case: Case, evidence: Evidence) -> None:
    rungs = walk(evidence, judge(case, 60))
    assert [rung.name for rung in rungs] == [
        "weights in = out",
        "logits",
        "loss",
        "weights after one step",
        "loss curve",
        "outputs after training",
        "test accuracy",
    ]
    assert all(rung.holds for rung in rungs)
    assert all(rung.figure < rung.tolerance / 2 for rung in rungs[1:-1]), "honest float32 is well inside"


def test_the_mean_over_a_large_batch_may_be_taken_by_adding_up_in_float32(case: Case) -> None:
    """The kernels of some frameworks do; its error grows with the batch, and is no other work."""
    generator = np.random.default_rng(7)
    features = generator.normal(size=(6000, 6)).astype(np.float32)
    labels = generator.integers(0, 3, 6000).astype(np.int32)
    batches = [generator.choice(6000, 4096, replace=False) for _ in range(20)]
    large = replace(case, features=features, labels=labels, batches=batches, steps=20)
    training = Training(large.model, large.loss, large.optimizer, large.initial, np.float32)
    losses = []
    for batch in batches:
        logits = training.logits(features[batch])
        total = np.float32(0)
        for probability in np.exp(logits)[np.arange(4096), labels[batch]] / np.exp(logits).sum(axis=1):
            total -= np.log(probability)
        losses.append(total / np.float32(4096))
        training.step(features[batch], labels[batch])
    expected = judge(large, 60).losses
    distance = np.abs(np.array(losses) - expected.values)
    assert distance.max() > 1e-6, "it is told apart from an exact sum"
    assert (distance < expected.tolerance).all()


def nudged(values: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Move one number by one unit in the last place."""
    changed = values[name].copy()
    changed.flat[0] = np.nextafter(changed.flat[0], np.float32(np.inf))
    return {**values, name: changed}


def test_one_bit_in_one_weight_is_named(case: Case, evidence: Evidence) -> None:
    (rung,) = walk(replace(evidence, initial=nudged(evidence.initial, "2.bias")), judge(case, 60))
    assert not rung.holds
    assert rung.figure == 1
    assert "the bias of layers[2]" in str(rung)


@pytest.mark.parametrize(
    ("change", "rung", "where"),
    [
        (lambda e: {"logits": e.logits * 1.0001}, "logits", "sample"),
        (lambda e: {"losses": np.roll(e.losses, 1)}, "loss", "step 1"),
        (lambda e: {"losses": np.where(np.arange(30) < 20, e.losses, e.losses * 1.01)}, "loss curve", "step 21"),
        (lambda e: {"losses": np.where(np.arange(30) < 20, e.losses, np.nan)}, "loss curve", "step 21"),
        (
            lambda e: {"first_step": {**e.first_step, "0.bias": e.initial["0.bias"]}},
            "weights after one step",
            "the bias of layers[0]",
        ),
        (lambda e: {"trained_logits": e.logits}, "outputs after training", "sample 1"),
        (lambda e: {"losses": e.losses[:10]}, "loss curve", "shape"),
    ],
)
def test_the_first_rung_that_does_not_hold_is_named(case: Case, evidence: Evidence, change, rung, where) -> None:
    rungs = walk(replace(evidence, **change(evidence)), judge(case, 60))
    assert rungs[-1].name == rung
    assert not rungs[-1].holds
    assert where in str(rungs[-1])
    assert all(earlier.holds for earlier in rungs[:-1])


def test_the_tolerance_grows_with_the_chaos_of_the_experiment(case: Case) -> None:
    calm = judge(replace(case, optimizer=SGD(0.01, 0.0, False, 0.0)), 60)
    wild = judge(replace(case, optimizer=SGD(8.0, 0.9, False, 0.0)), 60)
    assert calm.losses.tolerance[-1] < 1e-4
    assert wild.losses.tolerance[-1] > 10 * calm.losses.tolerance[-1]
    np.testing.assert_allclose(wild.losses.tolerance[0], calm.losses.tolerance[0])


def test_what_does_not_fit_into_the_budget_is_judged_in_part(case: Case) -> None:
    judgement = judge(case, 0.0)
    assert judgement.steps == len(judgement.losses.values) == 4
    assert judge(case, 60).steps == 30


def test_narrower_products_hold_only_where_they_were_asked_for(case: Case) -> None:
    """The tolerance follows the precision: TF32 rounds the inputs of products to 10 bits after the point."""

    class Narrow(Training):
        def logits(self, features: Any) -> Any:
            wide = dict(self.parameters)
            self.parameters = {name: _to_tf32(values) for name, values in wide.items()}
            outputs = super().logits(_to_tf32(features))
            self.parameters = wide
            return outputs

    contestant = Narrow(case.model, case.loss, case.optimizer, case.initial, np.float32)
    logits = contestant.logits(case.judged_features).astype(np.float32)
    wanted = {precision: judge(replace(case, precision=precision), 60).logits for precision in ("float32", "tf32")}
    distance = np.abs(logits - wanted["tf32"].values).max()
    assert wanted["float32"].tolerance < distance <= wanted["tf32"].tolerance


def _to_tf32(values: Any) -> Any:
    """Cut float32 down to 10 bits after the binary point."""
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
