"""Why training is wrong: which of the things that are often done instead gives just these numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backends.contract import SGD, Optimizer
from results.proof.judge import Case
from tests.conformance.cases import Files
from tests.conformance.findings import Named, largest_difference
from tests.conformance.recording import Recording


def explain(files: Files, recording: Recording, steps: int) -> str:
    """Try what is often done instead, and say which of it gives what was found; empty if none does."""
    case = files.case
    right = _trained(case, steps)
    for text, suspect in _suspects(case, files.example.batch_size).items():
        likely = _trained(suspect, steps)
        if steps == 1:
            found: Named = recording.weights("one step")
        else:
            found = {"losses": recording.array("full batches")}
        if largest_difference(found, likely) < 0.01 * largest_difference(right, likely):
            return f"these are the numbers that come out if {text}"
    return ""


def _suspects(case: Case, batch_size: int) -> dict[str, Case]:
    """What is often done instead, less what would be the same here."""
    optimizer = case.optimizer
    wrong: dict[str, Optimizer] = {
        "weight decay is ignored": replace(optimizer, weight_decay=0.0),
        "gradients are not clipped": replace(optimizer, clip_norm=0.0),
        "nothing is updated": replace(optimizer, learning_rate=0.0),
    }
    if isinstance(optimizer, SGD):
        wrong |= {
            "nesterov is ignored": replace(optimizer, nesterov=False),
            "momentum is ignored": replace(optimizer, momentum=0.0, nesterov=False),
            "nesterov and weight decay are ignored": replace(optimizer, nesterov=False, weight_decay=0.0),
            "the gradient is that of the sum over the batch": replace(
                optimizer, learning_rate=optimizer.learning_rate * batch_size
            ),
        }
    else:
        wrong["weight decay is decoupled where it should not be, or the other way round"] = replace(
            optimizer, decoupled=not optimizer.decoupled
        )
    suspects = {text: replace(case, optimizer=other) for text, other in wrong.items() if other != optimizer}
    if case.label_smoothing:
        suspects["labels are not smoothed"] = replace(case, label_smoothing=0.0)
    if case.rates is not None:
        suspects["every step has the first rate"] = replace(case, rates=None)
    return suspects


def _trained(case: Case, steps: int) -> dict[str, NDArray[np.float64]]:
    """The parameters after one step, or the losses of several."""
    run = case.training(case.initial)
    losses = [case.step(run, index) for index in range(steps)]
    return dict(run.parameters) if steps == 1 else {"losses": np.array(losses)}
