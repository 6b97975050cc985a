"""What is found out of a run after each of its epochs: its scores, when it was best, when it reached the target."""

from __future__ import annotations

import numpy as np

from backends.contract import Parameters
from benchmarks.cell.divergence import need_finite, need_finite_weights
from benchmarks.cell.materials import Materials
from benchmarks.cell.scoring import Score, confusion, is_better, score
from benchmarks.data.cache import SPLITS, Split
from benchmarks.spec.shapes import parameter_shapes
from benchmarks.worker.conversation import Conversation
from benchmarks.worker.process import WorkerError
from results.record import Epoch, Run


class Evaluation:
    """Has a worker predict the validation and the test set, and writes what follows into the run's record."""

    def __init__(self, conversation: Conversation, materials: Materials, record: Run) -> None:
        """Evaluate the worker of this conversation."""
        self._conversation = conversation
        self._materials = materials
        self._record = record
        self._rates: list[float] = []

    @property
    def samples_per_second(self) -> float | None:
        """Median throughput of the predictions of the test set but the first, which holds the compilation."""
        return float(np.median(self._rates[1:])) if len(self._rates) > 1 else None

    def weights_after(self, epoch: int) -> Parameters:
        """The weights after an epoch. Raises WorkerError if one is not finite any more."""
        parameters = self._conversation.parameters("evaluate")
        need_finite_weights(parameters, parameter_shapes(self._materials.experiment.model), self._when(epoch))
        return parameters

    def _when(self, epoch: int) -> str:
        return f"after epoch {epoch}, at step {epoch * self._materials.steps_per_epoch}"

    def after(self, row: Epoch) -> None:
        """Score the validation and the test set, and add the epoch's row. Raises WorkerError."""
        record = self._record
        training = [window for window in record.window_rows if window.kind == "training"]
        row.train_seconds = sum(window.seconds for window in training if window.turn == row.epoch)
        row.elapsed_seconds = sum(window.seconds for window in training)
        for split in SPLITS[1:]:
            if self._materials.data.sizes[split]:
                result = self._predict(split, row.epoch)
                setattr(row, f"{split}_loss", result.loss)
                setattr(row, f"{split}_accuracy", result.accuracy)
        record.epoch_rows.append(row)
        if row.epoch and row.validation_loss is not None:
            best = record.epoch_rows[record.best_epoch or row.epoch]
            if best is row or is_better(row, best):
                record.best_epoch = row.epoch
        target, reached = record.target_accuracy, row.test_accuracy
        if target is not None and reached is not None and reached >= target and record.seconds_to_target is None:
            record.seconds_to_target = row.elapsed_seconds
        for column in ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"):
            setattr(record, column, getattr(row, column))

    def _predict(self, split: Split, epoch: int) -> Score:
        answer = self._conversation.ask("evaluate", "predict", name=split)
        (outputs,) = answer.arrays
        labels = np.load(self._materials.data.labels(split), mmap_mode="r", allow_pickle=False)
        expected = (len(labels), self._materials.outputs)
        if outputs.shape != expected:
            raise WorkerError("failed", f"predict returned outputs of shape {outputs.shape}, not {expected}")
        if epoch:
            need_finite(outputs, f"an output for the {split} set", self._when(epoch))
        if split == "test":
            self._rates.append(len(labels) / answer.seconds)
            if self._materials.experiment.loss == "cross-entropy":
                self._record.confusion = confusion(outputs, labels)
        return score(outputs, labels, self._materials.experiment.loss)
