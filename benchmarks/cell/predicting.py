"""Kept models at work: any backend loads what any other has trained, and tells what it sees, or scores a test set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from backends.contract import Job
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.cell.kept_models import KeptModel
from benchmarks.cell.materials import prepare_data
from benchmarks.cell.run import PREDICTION_CHUNK
from benchmarks.cell.scoring import Score, score
from benchmarks.data import normalised
from benchmarks.data.pictures import Change, read_every
from benchmarks.errors import InputError
from benchmarks.machine.processors import default_threads, processors_for
from benchmarks.spec import experiment as experiments
from benchmarks.spec.data import ImageData
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.loading import load
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess

LOG = "log"

LONGEST = 3600.0
"""Seconds that a prediction may take."""


@dataclass(frozen=True)
class Predictor:
    """A kept model, and the backend, mode and device that is to run it ("cpu", "gpu" or "auto")."""

    model: KeptModel
    backend: BackendFile
    mode: str
    device: str
    interpreters: Interpreters

    def outputs(self, features: Path, labels: Path) -> NDArray[np.float32]:
        """Return the model's outputs, float32 ``[n, outputs]``, for the features in a `.npy` file.

        ``labels`` are put beside them, as the contract of a backend wants it, and not looked at. Raises InputError if
        the backend cannot do it here.
        """
        with tempfile.TemporaryDirectory(prefix="lockstep-") as scratch:
            try:
                with self._worker(Path(scratch)) as worker:
                    worker.hello()
                    worker.ask("import", file=str(self.backend.path))
                    self._load(worker, Path(scratch) / "parameters.safetensors")
                    worker.ask("put", name="asked", features=str(features), labels=str(labels), chunk=PREDICTION_CHUNK)
                    (outputs,) = worker.ask("predict", name="asked").arrays
            except WorkerError as error:
                printed = (Path(scratch) / LOG).read_text(errors="replace").split("\n")
                last = next((f"; it last printed: {line.strip()}" for line in reversed(printed) if line.strip()), "")
                raise InputError(f"predict: {self.backend.name} {self.mode}: {error}{last}") from None
        return outputs

    @contextmanager
    def _worker(self, scratch: Path) -> Iterator[WorkerProcess]:
        threads = default_threads()
        environment = {**worker_environment(threads), "TMPDIR": str(scratch)}
        python = self.interpreters.path(self.backend)
        processors = processors_for(threads)
        worker = WorkerProcess(Launch(python, scratch, scratch / LOG, environment, processors, LONGEST))
        try:
            yield worker
        finally:
            worker.kill()

    def _load(self, worker: WorkerProcess, parameters: Path) -> None:
        save_file(self.model.parameters, parameters)
        experiment = self.model.experiment
        job = Job(experiment.model, experiment.loss, experiment.optimizer, self.mode)
        load(partial(worker.ask, "load"), self.backend.candidates(self.device), job, parameters)


@dataclass(frozen=True)
class Seen:
    """What a model sees in a picture: the probability of each class, the most probable first."""

    picture: Path
    changes: tuple[Change, ...]
    """What had to be done to the picture."""
    probabilities: dict[str, float]


def see(predictor: Predictor, pictures: Sequence[Path]) -> list[Seen]:
    """Say what is in pictures; raises InputError or DataError if a file or the model is none for that."""
    model = predictor.model
    data = model.experiment.data
    if not isinstance(data, ImageData):
        raise InputError(f"predict: {model.label} was trained on {data.name}, not on pictures; use --data test")
    read = read_every(pictures, data.sample_shape)
    with tempfile.TemporaryDirectory(prefix="lockstep-") as scratch:
        features, labels = Path(scratch) / "features.npy", Path(scratch) / "labels.npy"
        # Stored pixels of some sets end at another value than a picture's 255.
        pixels = np.stack([picture.pixels for picture in read]) * np.float32(data.white / 255)
        np.save(features, normalised(data, pixels))
        np.save(labels, np.zeros(len(read), np.int32))
        outputs = predictor.outputs(features, labels)
    return [
        Seen(path, picture.changes, dict(sorted(zip(model.classes, row, strict=True), key=lambda pair: -pair[1])))
        for path, picture, row in zip(pictures, read, softmax(outputs).tolist(), strict=True)
    ]


def score_test_set(predictor: Predictor) -> Score:
    """Score a model on the whole test set of its experiment. Raises DataError or InputError."""
    model, experiment = predictor.model, predictor.model.experiment
    known = model.name in experiments.names()
    data = prepare_data(experiment, experiments.FOLDER if known else Path.cwd(), predictor.interpreters)
    if data.classes != model.classes:
        raise InputError(f"predict: the classes of {model.label} are not those of the test set that is here")
    outputs = predictor.outputs(data.features("test"), data.labels("test"))
    return score(outputs, data.load("test")[1], experiment.loss)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities ``exp z / sum exp z`` of logits ``[n, classes]``; the largest is taken out first."""
    shifted: NDArray[Any] = logits.astype(np.float64)
    exponentials = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
