"""Trained weights that are kept: one safetensors file each, in the canonical layout, with what it takes to use them.

Nothing of a framework is in such a file, so what one has trained, any other can load. safetensors holds numbers and
text and nothing that could run (https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from backends.contract import Parameters
from benchmarks.cell.materials import hash_arrays
from benchmarks.errors import InputError
from benchmarks.spec.experiment import LARGEST_MODEL, Experiment
from benchmarks.spec.layers import build_model
from benchmarks.spec.shapes import ShapeError, parameter_shapes
from results.store import Store

FORMAT = "1"
MODELS = "models"
"""Folder of the kept models in a results folder."""

LARGEST_FILE = LARGEST_MODEL * 4 + 2**20
"""Bytes: float32 weights and the description before them."""

KEYS = ("lockstep_model", "run", "name", "epoch", "trained_by", "experiment", "classes", "weights_hash")


@dataclass(frozen=True)
class KeptModel:
    """Weights after ``epoch`` of a run, and the experiment and the classes that give them a meaning."""

    run: str
    name: str
    """The name of the experiment."""
    epoch: int
    trained_by: str
    """Backend and mode."""
    experiment: Experiment
    classes: tuple[str, ...]
    """Of class 0, 1, ...; empty in a regression."""
    parameters: Parameters

    @property
    def label(self) -> str:
        """How the model is called in a sentence."""
        return f"run {self.run} after epoch {self.epoch}"


def save_model(model: KeptModel, path: Path) -> None:
    """Write a model to a file, whole or not at all, and read it back before it counts. Raises OSError."""
    # safetensors writes the memory as it lies, of a transposed view too (0.8.0), and reads it as C order.
    parameters = {name: np.ascontiguousarray(values, np.float32) for name, values in model.parameters.items()}
    metadata = {
        "lockstep_model": FORMAT,
        "run": model.run,
        "name": model.name,
        "epoch": str(model.epoch),
        "trained_by": model.trained_by,
        "experiment": model.experiment.canonical_json(),
        "classes": json.dumps(model.classes),
        "weights_hash": hash_arrays(parameters),
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("xb") as file:
            file.write(save(parameters, metadata))
            file.flush()
            os.fsync(file.fileno())
        load_model(part)
        part.replace(path)
    except InputError as error:
        raise OSError(f"what was written is not what was to be kept: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def load_model(path: Path) -> KeptModel:
    """Read a model from a file that may hold anything; raises InputError unless it is one that ``save_model`` wrote."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"{path}: {size:,} bytes are more than any model has; at most {LARGEST_FILE:,} are read")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _need_ours(path, metadata)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            shapes = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
            experiment, classes, epoch = _described(path, metadata, shapes)
            parameters = {name: file.get_tensor(name) for name in shapes}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise InputError(f"{path}: is no safetensors file, or a damaged one: {error}") from None
    _need_intact(path, metadata, parameters)
    run, name, trained_by = (metadata[key] for key in ("run", "name", "trained_by"))
    return KeptModel(run, name, epoch, trained_by, experiment, classes, parameters)


def _need_ours(path: Path, metadata: dict[str, str]) -> None:
    missing = [key for key in KEYS if key not in metadata]
    if missing:
        raise InputError(
            f"{path}: was not kept by lockstep: {missing[0]!r} is not in its metadata; 'lockstep run --keep-models' "
            "keeps models"
        )
    if metadata["lockstep_model"] != FORMAT:
        version = metadata["lockstep_model"]
        raise InputError(f"{path}: kept by another version of lockstep (format {version[:20]!r}, not {FORMAT!r})")
    for key in ("run", "name", "trained_by"):
        if not metadata[key].isprintable():
            raise InputError(f"{path}: {key!r} in its metadata is not printable text")


def _described(
    path: Path, metadata: dict[str, str], shapes: dict[str, tuple[str, list[int]]]
) -> tuple[Experiment, tuple[str, ...], int]:
    """Read the experiment, its classes and the epoch, and see that the tensors are those of its model."""
    try:
        experiment = Experiment.model_validate_json(metadata["experiment"])
        expected = {name: ("F32", list(shape)) for name, shape in parameter_shapes(experiment.model).items()}
        classes = json.loads(metadata["classes"])
        epoch = int(metadata["epoch"])
        outputs = build_model(experiment.layers, experiment.data.sample_shape)[1]
    except (ValidationError, ShapeError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: its metadata is not that of a kept model: {first}") from None
    if shapes != expected:
        name = min(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
        raise InputError(
            f"{path}: {name[:60]!r} is {_tensor(shapes.get(name))}, and the experiment in its metadata "
            f"needs {_tensor(expected.get(name))}"
        )
    named = 0 if experiment.data.is_regression else outputs[0]
    if not _are_names(classes) or len(classes) != named:
        raise InputError(f"{path}: 'classes' in its metadata has to be a list of {named} printable names")
    return experiment, tuple(classes), epoch


def _are_names(classes: Any) -> bool:
    return isinstance(classes, list) and all(isinstance(name, str) and name.isprintable() for name in classes)


def _tensor(found: tuple[str, list[int]] | None) -> str:
    return f"{found[0]} {found[1]}" if found else "absent"


def _need_intact(path: Path, metadata: dict[str, str], parameters: dict[str, NDArray[np.float32]]) -> None:
    if hash_arrays(parameters) != metadata["weights_hash"]:
        raise InputError(f"{path}: its weights are not those that were kept: the file is damaged or was changed")


def find_model(text: str, results: Path) -> KeptModel:
    """Return the model that a user names: RUN, RUN:best, RUN:last, or the path of a file that ends in .safetensors.

    RUN alone is its best model if it had a validation set, else its last one. Raises InputError.
    """
    if text.endswith(".safetensors"):
        return load_model(Path(text))
    name, _, which = text.partition(":")
    runs = Store(results).runs().set_index("run")
    if name not in runs.index:
        known = f"the newest are {', '.join(runs.index[-3:])}" if len(runs) else "no run is there yet"
        raise InputError(f"run {name}: there is none of this name in {results}; {known}")
    models = runs.loc[name, "models"]
    if not isinstance(models, dict) or not models:
        raise InputError(f"run {name}: it kept no model; 'lockstep run --keep-models' keeps them")
    which = which or next(iter(models))
    if which not in models:
        raise InputError(f"run {text}: it kept no {which!r} model; there is {' and '.join(models)}")
    path = results / MODELS / model_file(name, which)
    if path.exists() and sha256(path) != models[which]["sha256"]:
        raise InputError(f"{path}: is not the file that run {name} kept: it is damaged or was changed")
    return load_model(path)


def model_file(run: str, which: str) -> str:
    """The name of the file of a run's "best" or "last" model in the folder ``MODELS``."""
    safe = re.sub(r"[^\w.-]", "-", run)
    return f"{safe}-{which}.safetensors"


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
