"""When a run has diverged: a number of it is not a number, or infinite, told in the same words wherever that is seen.

The losses alone do not tell. ReLU and max pooling of some frameworks make a number of what is none
(findings/mindspore-relu-hides-nan.sh), so weights and outputs are looked at, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import Parameters
from benchmarks.worker.process import WorkerError
from results.proof.ladder import layer_of


def need_finite(values: NDArray[Any], what: str, when: str) -> None:
    """Raise WorkerError unless all values are finite numbers; the message has the first that is not."""
    finite = np.isfinite(values)
    if not finite.all():
        raise WorkerError("diverged", f"{what} is {values.flat[np.argmin(finite)]} {when}")


def need_finite_losses(losses: NDArray[np.float32], step: int) -> None:
    """The same for the losses of a window of training that began with this step."""
    finite = np.isfinite(losses)
    need_finite(losses, "the training loss", f"at step {step + int(np.argmin(finite))}")


def need_finite_weights(parameters: Parameters, names: Iterable[str], when: str) -> None:
    """The same for the model's parameters; one that is missing or has another type is the ladder's business."""
    for name in names:
        values = parameters.get(name)
        if values is not None and values.dtype == np.float32:
            need_finite(values, layer_of(name), when)
