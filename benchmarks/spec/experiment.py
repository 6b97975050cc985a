"""The experiment: what is trained on what, and how. One TOML file each, in ``experiments/`` or anywhere else."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from backends import contract
from benchmarks.errors import InputError
from benchmarks.spec.data import DATA_NAMES, DataSpec
from benchmarks.spec.initial import InitialSpec
from benchmarks.spec.layers import LayerSpec, build_model
from benchmarks.spec.optimizers import AdamSpec, AdamWSpec, SGDSpec
from benchmarks.spec.schedule import SCHEDULES, ScheduleSpec
from benchmarks.spec.shapes import ShapeError, numbers_per_channel, parameter_shapes
from benchmarks.spec.strict import Strict, added

FOLDER = Path(__file__).parents[1] / "experiments"
OPTIMIZERS = ("sgd", "adam", "adamw")
LARGEST_MODEL = 250_000_000  # parameters: 1 GB of float32, several times that in training


class Experiment(Strict):
    """One experiment of lockstep, as it stands in its TOML file."""

    description: Annotated[str, Field(min_length=1, max_length=300)] = Field(description="One line for the listing.")
    data: DataSpec = Field(description="The data set, its options and its normalisation.")
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1, max_length=200, strict=False)] = Field(
        description="The model: a chain of layers from the input to the logits (or the regression's outputs)."
    )
    loss: contract.Loss = Field(description="The training loss, a mean over the batch.")
    sgd: SGDSpec | None = added(None, "The optimizer, if it is stochastic gradient descent.")
    adam: AdamSpec | None = added(None, "The optimizer, if it is Adam.")
    adamw: AdamWSpec | None = added(None, "The optimizer, if it is AdamW.")
    schedule: ScheduleSpec | None = added(None, "How the learning rate changes; without it, it does not.")
    initial: InitialSpec = added(InitialSpec(), "How the initial weights are drawn.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = added(
        0.0, "Share of the target of a cross-entropy that is spread over all classes alike."
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Samples per step.")
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(description="Passes over the training set.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=1, description="Seed of the initial weights and of the order of the batches."
    )
    validation: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the training set that is held out for validation."
    )
    input: contract.Input = Field(
        default="resident",
        description="Where batches come from: the data set on the device, or the framework's own loader.",
    )
    replicas: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Replicas of the model that share the work of every batch (data parallel training)."
    )
    default: bool = Field(default=True, description="Whether a bench without names runs this experiment.")

    @model_validator(mode="after")
    def _one_optimizer(self) -> Experiment:
        named = [f"[{name}]" for name in OPTIMIZERS if getattr(self, name)]
        if len(named) != 1:
            found = f"there are {' and '.join(named)}" if named else "there is none"
            raise ValueError(f"one optimizer is needed: [sgd], [adam] or [adamw], but {found}")
        if self.schedule and self.schedule.warm_up >= self.epochs:
            raise ValueError(
                f"schedule.warm_up: {self.schedule.warm_up:g} epochs of warm-up are all of the training, which has "
                f"{self.epochs:,}; use fewer"
            )
        if self.label_smoothing and self.loss != "cross-entropy":
            raise ValueError(f"label_smoothing: only a cross-entropy has it, not {self.loss!r}")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Experiment:
        if self.data.is_regression != (self.loss == "mean-squared-error"):
            needed = "mean-squared-error" if self.data.is_regression else "cross-entropy"
            raise ValueError(f"loss: {self.loss!r} does not fit the data set {self.data.name!r}; use {needed!r}")
        if self.replicas > self.batch_size:
            raise ValueError(
                f"replicas: {self.replicas:,} replicas cannot share a batch of {self.batch_size:,}; use at most that"
            )
        size = sum(math.prod(shape) for shape in parameter_shapes(self.model).values())
        if size > LARGEST_MODEL:
            raise ValueError(f"layers: the model has {size:,} parameters; at most {LARGEST_MODEL:,} are accepted")
        if size == 0:
            raise ValueError("layers: nothing to train; add a linear or conv2d layer")
        self.check_batch(self.batch_size, "batch_size")
        if self.data.outputs is not None:
            self.check_outputs(self.data.outputs)
        return self

    @property
    def model(self) -> contract.Model:
        """The model with all shapes inferred; raises ShapeError if a layer does not fit."""
        return build_model(self.layers, self.data.sample_shape)[0]

    @property
    def optimizer(self) -> contract.Optimizer:
        """The optimizer as the backends get it."""
        return next(spec for spec in (self.sgd, self.adam, self.adamw) if spec).build()

    def check_batch(self, samples: int, what: str) -> None:
        """Raise ValueError if batch normalization cannot take the spread of a batch of so many samples.

        That is of a single number for a channel.
        """
        numbers = numbers_per_channel(self.model.layers, self.data.sample_shape)
        if numbers and numbers * samples < 2:
            raise ValueError(
                f"{what}: batch_norm needs at least 2 numbers for each channel, and a batch of {samples} has "
                f"{numbers * samples}"
            )

    def check_outputs(self, needed: int) -> None:
        """Raise ShapeError unless the last layer gives one value per class (or per regression target)."""
        shape = build_model(self.layers, self.data.sample_shape)[1]
        if shape != (needed,):
            what = "targets" if self.data.is_regression else "classes"
            raise ShapeError(
                f"layers[{len(self.layers) - 1}] ({self.layers[-1].layer}): it gives shape {shape} per sample, but the "
                f'data set has {needed} {what}: end with {{ layer = "linear", outputs = {needed} }}'
            )

    def canonical_json(self) -> str:
        """The experiment with every default written out; what ``hash`` is taken of and what the store keeps."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @property
    def hash(self) -> str:
        """SHA-256 of what is trained and how; the description and the place in the default set do not enter.

        A single replica does not either: experiments are what they were before there were more.
        """
        values = self.model_dump(mode="json", exclude={"description", "default"})
        if self.replicas == 1:
            del values["replicas"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def names() -> list[str]:
    """The experiments that come with lockstep, by file name without the ending."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find(name: str) -> Path:
    """Return the file of an experiment given by name or by path; raises InputError if there is none."""
    if name in names():
        return FOLDER / f"{name}.toml"
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        close = difflib.get_close_matches(name, names(), n=1)
        remedy = (
            f"did you mean {close[0]!r}?" if close else "'lockstep list' shows them; a file of your own ends in .toml"
        )
        raise InputError(f"experiment {name!r}: there is none of this name; {remedy}")
    return path


def load(path: Path, overrides: dict[str, Any] | None = None) -> Experiment:
    """Read and validate an experiment file, with the keys in ``overrides`` replaced: "epochs", "sgd.momentum".

    Raises InputError with one line that names the file, the key and the remedy.
    """
    try:
        path.stem.encode()  # it is the experiment's name in tables, models and reports
    except UnicodeEncodeError:
        raise InputError(f"{path}: the file's name is no text here; rename it, or set PYTHONUTF8=1") from None
    try:
        text = path.read_bytes().decode()
        values = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); write it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    try:
        for key, value in (overrides or {}).items():
            _replace(values, key, value)
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}{_changed(overrides or {})}: {_first_line(error)}") from None


def _changed(overrides: dict[str, Any]) -> str:
    """What was asked for besides the file, and may be what is wrong, as it is typed: " with sgd.momentum=0"."""
    texts = [
        f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for key, value in overrides.items()
    ]
    return f" with {', '.join(texts)}" if texts else ""


def _replace(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a key by its dotted name; a table that is missing on the way is made, and judged by the validation."""
    *tables, last = key.split(".")
    for table in tables:
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            raise InputError(f"{key}: {table!r} is no table of an experiment, but {inner!r:.60}")
        values = inner
    values[last] = value


def json_schema() -> str:
    """The JSON Schema of an experiment file, for editors."""
    schema = Experiment.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "lockstep experiment"
    return json.dumps(schema, indent=2) + "\n"


def _first_line(error: ValidationError) -> str:
    """Put the first validation error in one line: key, what is wrong, what would be right."""
    errors = error.errors(include_url=False)
    first = errors[0]
    # In a union, pydantic puts the tag of the chosen member into the path: "layers", 1, "linear", "outputs".
    tags = {*contract.LAYERS, *DATA_NAMES, *SCHEDULES}
    path = ""
    for part in first["loc"]:
        if part not in tags:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] not in {"value_error", "missing"}:
        message += f", but it is {first['input']!r:.80}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{path.lstrip('.')}: {message}".removeprefix(": ") + more
