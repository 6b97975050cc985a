# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=1.26", "safetensors>=0.5", "scipy>=1.14"]
# ///
"""The reference: float64 NumPy on the CPU, the judge of every other backend, and the example to copy.

A backend's file is this: a PEP 723 header that names what its environment needs, and one subclass of ``Backend``. What
a framework would bring is in ``backends/float64``: the layers, the losses, the optimizer, and the training of one run.
A copy of this file works wherever it lies: the worker that hosts it can import the package ``backends``, and not the
rest of lockstep.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backends.contract import SMALLEST_NORMAL, Backend, Job, Parameters, Unavailable
from backends.float64.arrays import Array
from backends.float64.training import Training


@dataclass(frozen=True)
class Data:
    """What ``put`` returns: a data set in memory."""

    features: NDArray[np.float32]
    labels: NDArray[Any]


class Reference(Backend):
    """Float64 NumPy on the CPU. NumPy is synchronous, so a handle is simply the list of the losses."""

    modes: ClassVar[Mapping[str, str]] = {"numpy": "float64 NumPy, the judge"}
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    def describe(self) -> dict[str, Any]:
        """Return the versions; how many threads NumPy's BLAS uses cannot be read back from NumPy."""
        return {
            "versions": {"numpy": np.__version__, "python": platform.python_version()},
            "device": processor_name(),
            "threads": None,
            "precision": "float64",
            "compiled": [],
            "flushes_subnormals": not single(np.array(SMALLEST_NORMAL / 2)),
        }

    def load(self, job: Job) -> None:
        """Set the parameters, as float64 of exactly the same values."""
        if job.device not in self.devices:
            raise Unavailable(f"the reference runs on the cpu only, not on {job.device}")
        if job.input == "loader":
            raise Unavailable("NumPy has no input pipeline of its own, and so the reference has no loader")
        if job.precision != "float32":
            raise Unavailable("the reference computes in float64: there is nothing to narrow")
        if job.replicas > 1:
            raise Unavailable("NumPy has no means to train replicas of a model")
        self.training = Training(job.model, job.loss, job.optimizer, job.parameters, smoothing=job.label_smoothing)

    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> Data:
        """Copy the arrays into memory: as float32, since only a batch at a time is needed as float64."""
        return Data(np.array(features), np.array(labels))

    def train(self, data: Data, batches: NDArray[np.int64], rates: NDArray[np.float32] | None = None) -> list[float]:
        """Take one step per row of ``batches``, and return the losses."""
        every_rate = [None] * len(batches) if rates is None else rates.tolist()
        return [
            self.training.step(data.features[batch], data.labels[batch], rate=rate)
            for batch, rate in zip(batches, every_rate, strict=True)
        ]

    def synchronize(self, handle: list[float]) -> NDArray[np.float32]:
        """Return the losses as float32 ``[steps]``; the work was done when ``train`` returned."""
        return single(np.array(handle))

    def predict(self, data: Data) -> NDArray[np.float32]:
        """Return the model's output for every sample, float32 ``[n, outputs]``."""
        return single(self.training.logits(data.features))

    def parameters(self) -> Parameters:
        """Return the parameters, rounded to float32."""
        return {name: single(value) for name, value in self.training.parameters.items()}

    def moments(self) -> tuple[Parameters, Parameters]:
        """Return Adam's moments, rounded to float32."""
        state = self.training.state
        return tuple({name: single(kept[i]) for name, kept in state.items()} for i in (0, 1))  # type: ignore[return-value]


@np.errstate(over="ignore")
def single(values: Array) -> NDArray[np.float32]:
    """Return a float32 copy; what does not fit becomes infinite, which is how a diverged run is seen."""
    return values.astype(np.float32)


def processor_name() -> str:
    """Return the name of the CPU's model where Linux tells it, else that of its architecture."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
