"""What every cell of one experiment and seed shares: the data, the initial weights and the order of the batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from backends import contract
from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.data import PreparedData, Torchvision, prepare
from benchmarks.errors import InputError
from benchmarks.spec.experiment import Experiment
from benchmarks.spec.flops import forward_flops, step_flops
from benchmarks.spec.initial import initial_parameters
from benchmarks.spec.layers import build_model
from results.proof.judge import Case

LARGEST_ORDER = 500_000_000  # sample indices of 8 bytes: 4 GB

JUDGED_SAMPLES = 1000
"""Test samples whose outputs are compared with the reference's."""

JUDGED_FLOPS = 5 * 10**9
"""Floating point operations that their outputs take at most: half a second of the reference, twice."""


@dataclass(frozen=True)
class Start:
    """Weights to start from instead of drawn ones, and what they are called."""

    label: str
    parameters: contract.Parameters

    @property
    def hash(self) -> str:
        """Of the weights."""
        return hash_arrays(self.parameters)


@dataclass(frozen=True)
class Materials:
    """Files that workers map into memory, and the hashes of what is in them."""

    name: str
    point: str
    """Where in a sweep, such as "batch_size=64"; empty without a sweep."""
    experiment: Experiment
    data: PreparedData
    model: contract.Model
    parameters: Path
    weights_hash: str
    start: Start | None
    """What training starts from; None if the weights were drawn."""
    batches: Path
    last_batches: Path
    rates: Path
    """The learning rate of each row of ``batches``, float32; without a schedule nobody reads it, nor the next one."""
    last_rates: Path
    batches_hash: str
    judged_features: Path
    judged_labels: Path
    parameter_count: int
    full_steps: int
    """Steps of an epoch that have a full batch."""
    last_batch: int
    """Samples in the short last batch of an epoch; 0 if the batch size divides the training set."""

    @property
    def label(self) -> str:
        """The experiment, and where in a sweep."""
        return f"{self.name} {self.point}".strip()

    def case(self, precision: contract.Precision) -> Case:
        """The same for the judge, as arrays."""
        features, labels = self.data.load("train")
        return Case(
            model=self.model,
            loss=self.experiment.loss,
            optimizer=self.experiment.optimizer,
            initial=load_file(self.parameters),
            features=features,
            labels=labels,
            batches=list(self._order()),
            steps=self.total_steps,
            judged_features=np.load(self.judged_features, allow_pickle=False),
            judged_labels=np.load(self.judged_labels, allow_pickle=False),
            precision=precision,
            label_smoothing=self.experiment.label_smoothing,
            rates=self._rates() if self.experiment.schedule else None,
        )

    def _rates(self) -> NDArray[np.float32]:
        """The learning rates of all steps in the order of the training."""
        full, last = np.load(self.rates), np.load(self.last_rates)
        epochs = self.experiment.epochs
        joined: NDArray[np.float32] = np.hstack([full.reshape(epochs, -1), last.reshape(epochs, -1)]).reshape(-1)
        return joined

    @property
    def order_files(self) -> dict[str, str]:
        """The files of the order of the batches and, if there is a schedule, of their learning rates."""
        names = ("batches", "last_batches", *(("rates", "last_rates") if self.experiment.schedule else ()))
        return {name: str(getattr(self, name)) for name in names}

    def _order(self) -> Iterator[NDArray[np.int64]]:
        """The batches of all epochs in the order of the training."""
        batches, last = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (self.batches, self.last_batches))
        for epoch in range(self.experiment.epochs):
            yield from batches[epoch * self.full_steps : (epoch + 1) * self.full_steps]
            if self.last_batch:
                yield last[epoch]

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.experiment.epochs

    @property
    def flops(self) -> int:
        """Floating point operations of the whole training, as if all batches were full."""
        return step_flops(self.model, self.experiment.batch_size) * self.total_steps

    def job(self, mode: str, precision: contract.Precision = "float32", stock: bool = False) -> contract.Job:
        """What a backend is asked to train, less the parameters, whose file it gets."""
        experiment = self.experiment
        return contract.Job(
            self.model,
            experiment.loss,
            experiment.optimizer,
            mode,
            input=experiment.input,
            precision=precision,
            replicas=experiment.replicas,
            label_smoothing=experiment.label_smoothing,
            scheduled=experiment.schedule is not None,
            stock=stock,
        )

    @property
    def outputs(self) -> int:
        """Values that the model gives per sample."""
        return build_model(self.experiment.layers, self.data.input_shape)[1][0]

    @property
    def steps_per_epoch(self) -> int:
        """ceil(samples / batch size)."""
        return self.full_steps + (self.last_batch > 0)


def prepare_data(experiment: Experiment, folder: Path, interpreters: Interpreters) -> PreparedData:
    """Prepare an experiment's data set, unless that was done; relative paths start at ``folder``. Raises DataError."""
    torchvision = Torchvision(
        lambda: interpreters.path(environments.find("pytorch")), interpreters.tell, interpreters.offline
    )
    return prepare(experiment.data, experiment.validation, folder, torchvision)


def draw_parameters(experiment: Experiment) -> contract.Parameters:
    """Draw the initial weights from the experiment's seed."""
    return initial_parameters(experiment.model, _generators(experiment)[0], experiment.initial)


def draw_order(experiment: Experiment, samples: int) -> NDArray[np.int64]:
    """Draw a permutation of the training samples for each epoch from the experiment's seed: ``[epochs, samples]``."""
    generator = _generators(experiment)[1]
    return np.stack([generator.permutation(samples) for _ in range(experiment.epochs)]).astype(np.int64)


def _generators(experiment: Experiment) -> tuple[np.random.Generator, np.random.Generator]:
    """Of the weights and of the batches: two independent streams, so that another model has the same batches."""
    weights, order = np.random.SeedSequence(experiment.seed).spawn(2)
    return np.random.default_rng(weights), np.random.default_rng(order)


def draw(
    name: str,
    experiment: Experiment,
    data: PreparedData,
    folder: Path,
    point: str = "",
    start: Start | None = None,
) -> Materials:
    """Draw initial weights and batch order from the experiment's seed and write them into ``folder``.

    ``start`` takes the place of drawn weights. The order is one permutation of the training set per epoch, cut into
    full batches [epochs * steps, batch size] and the short last ones [epochs, rest]. Raises InputError if there is no
    full batch, if the order is too long, or if the weights to start from are those of another model.
    """
    samples, batch_size = data.sizes["train"], experiment.batch_size
    check(f"{name} {point}".strip(), experiment, samples, data.classes, start)
    parameters = start.parameters if start else draw_parameters(experiment)
    order = draw_order(experiment, samples)
    full_steps, last_batch = divmod(samples, batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(parameters, folder / "parameters.safetensors")
    # Spread over the test set, which may be sorted by class.
    features, labels = data.load("test")
    most = max(1, min(len(labels), JUDGED_SAMPLES, JUDGED_FLOPS // max(1, forward_flops(experiment.model))))
    judged = np.linspace(0, len(labels) - 1, most).astype(int)
    np.save(folder / "judged_features.npy", features[judged])
    np.save(folder / "judged_labels.npy", labels[judged])
    np.save(folder / "batches.npy", order[:, : full_steps * batch_size].reshape(-1, batch_size))
    np.save(folder / "last_batches.npy", order[:, full_steps * batch_size :])
    rates = _draw_rates(experiment, full_steps, last_batch > 0)
    np.save(folder / "rates.npy", rates[:, :full_steps].reshape(-1))
    np.save(folder / "last_rates.npy", rates[:, full_steps:].reshape(-1))
    return Materials(
        name=name,
        point=point,
        experiment=experiment,
        data=data,
        model=experiment.model,
        parameters=folder / "parameters.safetensors",
        weights_hash=hash_arrays(parameters),
        start=start,
        batches=folder / "batches.npy",
        last_batches=folder / "last_batches.npy",
        rates=folder / "rates.npy",
        last_rates=folder / "last_rates.npy",
        batches_hash=hash_arrays({"order": order}),
        judged_features=folder / "judged_features.npy",
        judged_labels=folder / "judged_labels.npy",
        parameter_count=sum(values.size for name, values in parameters.items() if contract.is_learned(name)),
        full_steps=full_steps,
        last_batch=last_batch,
    )


def _draw_rates(experiment: Experiment, full_steps: int, has_last: bool) -> NDArray[np.float32]:
    """Return the learning rate of each step, float32 ``[epochs, steps of an epoch]``."""
    per_epoch, epochs = full_steps + has_last, experiment.epochs
    rate, schedule = experiment.optimizer.learning_rate, experiment.schedule
    factors = schedule.factors(per_epoch * epochs, per_epoch) if schedule else np.ones(per_epoch * epochs)
    return (rate * factors).astype(np.float32).reshape(epochs, per_epoch)


def check(name: str, experiment: Experiment, samples: int, classes: Sequence[str], start: Start | None) -> None:
    """Raise InputError if an experiment does not fit so many training samples, these classes, or weights to start from.

    That is all that can be refused once the data is known.
    """
    check_size(name, experiment, samples)
    if classes:
        try:
            experiment.check_outputs(len(classes))
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None
    if start:
        _need_same_shapes(name, draw_parameters(experiment), start)


def _need_same_shapes(name: str, drawn: contract.Parameters, start: Start) -> None:
    shapes, given = ({key: array.shape for key, array in arrays.items()} for arrays in (drawn, start.parameters))
    for key in sorted({*shapes, *given}):
        if shapes.get(key) != given.get(key):
            raise InputError(
                f"{name}: --from {start.label}: that is another model: its {key} is {given.get(key, 'absent')}, and "
                f"here it is {shapes.get(key, 'absent')}; start from a run with the same layers"
            )


def check_size(name: str, experiment: Experiment, samples: int) -> None:
    """Raise InputError if so many training samples make no full batch, too long an order, or a batch too short.

    That is the last one of an epoch, if there are more replicas than samples in it.
    """
    batch_size, epochs = experiment.batch_size, experiment.epochs
    if batch_size > samples:
        raise InputError(
            f"{name}: batch_size: {batch_size:,} is more than the {samples:,} training samples; use at most that"
        )
    if 0 < (last := samples % batch_size) < experiment.replicas:
        raise InputError(
            f"{name}: replicas: {experiment.replicas:,} cannot share the last batch of an epoch, which has {last:,} of "
            f"the {samples:,} training samples; use at most {last:,}, or another batch_size"
        )
    if last:
        try:
            experiment.check_batch(last, "batch_size: the last batch of an epoch")
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None
    if samples * epochs > LARGEST_ORDER:
        raise InputError(
            f"{name}: epochs: {epochs:,} x {samples:,} samples are more than {LARGEST_ORDER:,} in all; use fewer"
        )


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, dtypes, shapes and contents, in the order of the names."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
