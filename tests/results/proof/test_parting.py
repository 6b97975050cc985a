"""Where a run parts from the reference, the decision that parted them is found, and proved by turning it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backends.contract import SGD, Conv2d, Flatten, Linear, MaxPool2d, Model, ReLU
from backends.float64.training import Training
from benchmarks.spec.initial import initial_parameters
from results.proof.judge import Case
from results.proof.parting import Partings, first_apart, sentence

STEPS, SAMPLES, BATCH = 6, 24, 4
SGD_ = SGD(0.1, 0.9, nesterov=False, weight_decay=0.0)

DENSE = Model((5,), (Linear(5, 6), ReLU(), Linear(6, 3)))
POOLED = Model((1, 4, 4), (Conv2d(1, 2, (3, 3), (1, 1), (1, 1)), MaxPool2d((2, 2), (2, 2)), Flatten(), Linear(8, 3)))


def case_of(model: Model) -> Case:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(SAMPLES, *model.input_shape)).astype(np.float32)
    labels = generator.integers(0, 3, SAMPLES)
    return Case(
        model=model,
        loss="cross-entropy",
        optimizer=SGD_,
        initial=initial_parameters(model, np.random.default_rng(4)),
        features=features,
        labels=labels,
        batches=[generator.permutation(SAMPLES)[:BATCH] for _ in range(STEPS)],
        steps=STEPS,
        judged_features=features,
        judged_labels=labels,
        precision="float32",
    )


def losses_of(case: Case, run: Training | None = None, faster_from: int = STEPS) -> NDArray[np.float64]:
    """The losses of the reference, or of another training; from a step on with ten times the learning rate."""
    run = run or Training(case.model, case.loss, case.optimizer, case.initial)
    found = []
    for number, batch in enumerate(case.batches):
        run.optimizer = case.optimizer if number < faster_from else SGD(1.0, 0.9, nesterov=False, weight_decay=0.0)
        found.append(run.step(case.features[batch], case.labels[batch]))
    return np.array(found)


def close_to_a_tie(case: Case, layer: str) -> tuple[Case, Case, int]:
    """The case and a neighbour a rounding away, between which one decision in step 1 lies, and its sample."""
    row = 1
    sample = int(case.batches[0][row])
    found: dict[str, Any] = {}

    def keep(number: str, x: NDArray[Any]) -> NDArray[Any]:
        found[number] = x
        return x

    run = Training(case.model, case.loss, case.optimizer, case.initial)
    run.step(case.features[case.batches[0]], case.labels[case.batches[0]], keep)
    cases = []
    for side in (1e-9, -1e-9):
        initial = {name: value.astype(np.float64) for name, value in case.initial.items()}
        features = case.features.astype(np.float64)
        if isinstance(case.model.layers[int(layer)], ReLU):
            initial["0.bias"][2] -= found[layer][row, 2] - side
        else:
            # Two pixels of one window whose neighbourhoods are equal have equal sums; one of them is moved.
            initial["0.weight"] = np.zeros_like(initial["0.weight"])
            initial["0.weight"][:, :, 1, 1] = 1.0
            features[sample, 0, :2, :2] = [[0.5, 0.1], [0.5 + side, 0.2]]
        cases.append(Case(**{**vars(case), "initial": initial, "features": features}))
    return cases[0], cases[1], sample


@pytest.mark.parametrize(("model", "layer", "kind"), [(DENSE, "1", "ReLU"), (POOLED, "1", "max pool")])
def test_the_decision_is_found_with_layer_sample_and_margin(model: Model, layer: str, kind: str) -> None:
    here, there, sample = close_to_a_tie(case_of(model), layer)
    parting = Partings(here).explain(losses_of(there).astype(np.float32), losses_of(here))
    assert parting
    assert parting.step == 2, "the loss of step 1 does not change; its gradient does"
    assert parting.decision
    assert (parting.decision.step, parting.decision.layer, parting.decision.kind) == (1, layer, kind)
    assert parting.decision.sample == sample
    assert parting.decision.margin < 1
    told = sentence(parting.document)
    for part in ("at step 2", "in step 1", f"{kind} layers[{layer}]", f"sample {sample}", "roundings of a tie"):
        assert part in told


def test_a_run_that_rounds_otherwise_does_not_part() -> None:
    case = case_of(DENSE)
    rounded = Training(case.model, case.loss, case.optimizer, case.initial, np.float32)
    assert Partings(case).explain(losses_of(case, rounded).astype(np.float32), losses_of(case)) is None


def test_what_no_decision_explains_is_said_to_have_another_cause() -> None:
    case = case_of(DENSE)
    parting = Partings(case).explain(losses_of(case, faster_from=2).astype(np.float32), losses_of(case))
    assert parting
    assert parting.step == 4
    assert parting.decision is None
    assert "no ReLU or max pool that is close to a tie explains it" in sentence(parting.document)


def test_only_the_judged_steps_are_looked_at() -> None:
    case = case_of(DENSE)
    assert Partings(case).explain(losses_of(case, faster_from=2).astype(np.float32), losses_of(case)[:3]) is None


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([1e-7, 2e-7, 3e-7, 5e-7], None),
        ([1e-7, 2e-7, 1e-6, 1e-5], 2),
        ([0.0, 1e-7, 0.0, 3e-7], None),
        ([1e-6, 2e-6, 1e-9, 5e-6], None),
    ],
    ids=["growing", "a jump", "what a rounding of the loss itself is", "near by chance in between"],
)
def test_a_parting_is_a_jump_beyond_all_distances_before(distances: list[float], expected: int | None) -> None:
    reference = np.ones(4)
    assert first_apart(reference + np.array(distances), reference) == expected
