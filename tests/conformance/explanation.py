"""Why training is wrong: which of the things that are often done instead gives just these numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backends.contract import SGD
from backends.float64.training import Training
from tests.conformance.cases import Files
from tests.conformance.findings import Named, largest_difference
from tests.conformance.recording import Recording


def explain(files: Files, recording: Recording, steps: int) -> str:
    """Try what is often done instead, and say which of it gives what was found; empty if none does."""
    case = files.case
    sgd = case.sgd
    suspects: dict[str, SGD] = {
        "nesterov is ignored": replace(sgd, nesterov=False),
        "weight decay is ignored": replace(sgd, weight_decay=0.0),
        "momentum is ignored": replace(sgd, momentum=0.0, nesterov=False),
        "nesterov and weight decay are ignored": replace(sgd, nesterov=False, weight_decay=0.0),
        "the gradient is that of the sum over the batch": replace(
            sgd, learning_rate=sgd.learning_rate * files.example.batch_size
        ),
        "nothing is updated": replace(sgd, learning_rate=0.0),
    }
    right = _trained(files, sgd, steps)
    for text, suspect in suspects.items():
        likely = _trained(files, suspect, steps)
        if steps == 1:
            found: Named = recording.weights("one step")
        else:
            found = {"losses": recording.array("full batches")}
        if suspect != sgd and largest_difference(found, likely) < 0.01 * largest_difference(right, likely):
            return f"these are the numbers that come out if {text}"
    return ""


def _trained(files: Files, sgd: SGD, steps: int) -> dict[str, NDArray[np.float64]]:
    """The parameters after one step, or the losses of several."""
    case = files.case
    run = Training(case.model, case.loss, sgd, case.initial)
    losses = [run.step(case.features[b], case.labels[b]) for b, _ in zip(case.batches, range(steps), strict=False)]
    return dict(run.parameters) if steps == 1 else {"losses": np.array(losses)}
