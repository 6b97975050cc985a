"""Turns the data set that an experiment names into memory-mapped arrays: once, then they are reused."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from benchmarks.data.cache import DamagedError, PreparedData, Split, open_prepared, write_array, write_meta
from benchmarks.data.digits import read_digits
from benchmarks.data.download import announcement, download
from benchmarks.data.generated import generate_images, generate_linear_regression
from benchmarks.data.idx_files import find_idx_files, read_idx_files
from benchmarks.data.picture_folder import list_pictures, read_pictures
from benchmarks.data.source import SPLIT_SEED, Samples, Source, names_in
from benchmarks.data.torchvision_sets import Torchvision, read_cifar10, torchvision_folder
from benchmarks.errors import DataError
from benchmarks.spec.data import (
    Cifar10,
    DataSpec,
    Digits,
    FashionMnist,
    GeneratedImages,
    ImageData,
    LinearRegression,
    Mnist,
    PictureFolder,
)

FORMAT = 2
"""Raise it whenever a data set would be read or written differently: what was prepared before is then left alone."""

CHUNK_VALUES = 2**22

SourceFile = tuple[str, int, int]
"""Path, size in bytes and time of the last change in ns: a change of any of them means that the file is read again."""

log = logging.getLogger("lockstep")


def prepare(spec: DataSpec, validation: float, base: Path, torchvision: Torchvision) -> PreparedData:
    """Return the data set as arrays on disk; prepare it first if that was not done before, or if it was damaged.

    ``validation`` (0 to below 1) is the share that is taken out of the training set: the same samples whatever the
    seed of the experiment; both parts keep their order. A relative path in ``spec`` starts at $LOCKSTEP_DATA, or at
    ``base`` if that is not set. ``torchvision`` is needed only for its data sets, which are downloaded if nothing of
    them is there. Several processes may prepare at once, and may be killed at any time.

    Raises DataError if the data is missing, damaged or too small, or if the arrays cannot be written.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a share from 0 to below 1, not {validation}")
    if found := find_prepared(spec, validation, base):
        return found
    cache = _cache()
    with _write_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        # One lock per name, not per entry: it also keeps two downloads of the same data set apart.
        lock = FileLock(cache / f"{spec.name}.lock")
        lock.acquire()
    try:
        files = _source_files(spec, validation, base)  # another process may have downloaded them in the meantime
        if not files and isinstance(spec, Mnist | FashionMnist | Cifar10):
            download(spec, torchvision)
            files = _source_files(spec, validation, base)
        ready = cache / _entry(spec, validation, files)
        if ready.exists():
            try:
                return open_prepared(ready)
            except DamagedError as damage:
                log.warning("the prepared data in %s is damaged (%s): building it again", ready, damage)
                with _write_errors(cache):
                    shutil.rmtree(ready)
        return _build(spec, validation, base, torchvision, cache, files)
    finally:
        lock.release()


def find_prepared(spec: DataSpec, validation: float, base: Path) -> PreparedData | None:
    """Return the data set if it was prepared before and is intact; nothing is written. Raises DataError."""
    try:
        # No lock: a folder is complete from the moment that it has its name.
        return open_prepared(_cache() / _entry(spec, validation, _source_files(spec, validation, base)))
    except DamagedError:
        return None


def to_download(spec: DataSpec, offline: bool) -> str:
    """Say what is to be downloaded for a data set; empty if nothing is. Raises DataError as ``prepare`` does."""
    if isinstance(spec, Mnist | FashionMnist | Cifar10) and not _source_files(spec, 0.0, Path()):
        return announcement(spec, offline)
    return ""


def _cache() -> Path:
    return user_cache_path("lockstep") / "prepared"


def _build(
    spec: DataSpec,
    validation: float,
    base: Path,
    torchvision: Torchvision,
    cache: Path,
    files: list[SourceFile],
) -> PreparedData:
    log.info("preparing %s in %s", spec.name, cache)
    partial = cache / f"{spec.name}.partial"
    arrays, scratch = partial / "arrays", partial / "scratch"
    try:
        with _write_errors(cache):
            if partial.exists():  # a process was killed
                shutil.rmtree(partial)
            arrays.mkdir(parents=True)
            scratch.mkdir()
        source = _read(spec, base, scratch, torchvision)
        with _write_errors(cache):
            _write(spec, source, validation, arrays)
            if _source_files(spec, validation, base) != files:
                raise DataError(f"{spec.name}: files in {source.place} changed while they were read; run it again")
            ready = cache / _entry(spec, validation, files)
            os.replace(arrays, ready)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_prepared(ready)


@contextmanager
def _write_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write prepared data in {cache}: {error.strerror or error}; "
            "make it writable or make room, or set XDG_CACHE_HOME to another folder"
        ) from error


def _entry(spec: DataSpec, validation: float, files: list[SourceFile]) -> str:
    """Name the folder of prepared data after everything that its content depends on."""
    content = [FORMAT, spec.model_dump(mode="json"), validation, files]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{spec.name}-{key[:16]}"


def _source_files(spec: DataSpec, validation: float, base: Path) -> list[SourceFile]:
    """Return what the data set is read from, as far as it is there. Raises DataError."""
    try:
        return [_state(file) for file in _files(spec, validation, base)]
    except OSError as error:
        raise DataError(f"{spec.name}: cannot read {error.filename}: {error.strerror}") from error


def _files(spec: DataSpec, validation: float, base: Path) -> list[Path]:
    match spec:
        case PictureFolder():
            return list_pictures(spec, base, validation).files
        case Digits() | LinearRegression() | GeneratedImages():
            return []
        case Mnist() | FashionMnist():
            return find_idx_files(spec, torchvision_folder(spec))
        case Cifar10():
            folder = torchvision_folder(spec)
            return [folder / name for name in names_in(folder)]


def _state(file: Path) -> SourceFile:
    """What is not there, such as the end of a broken link, is found out when it is read."""
    state = file.stat() if file.exists() else file.lstat()
    return str(file), state.st_size, state.st_mtime_ns


def _read(spec: DataSpec, base: Path, scratch: Path, torchvision: Torchvision) -> Source:
    match spec:
        case Digits():
            return read_digits()
        case LinearRegression():
            return generate_linear_regression(spec)
        case GeneratedImages():
            return generate_images(spec)
        case PictureFolder():
            return read_pictures(spec, list_pictures(spec, base))
        case Mnist() | FashionMnist():
            return read_idx_files(spec, torchvision_folder(spec))
        case Cifar10():
            return read_cifar10(spec, scratch, torchvision)


def _write(spec: DataSpec, source: Source, validation: float, folder: Path) -> None:
    rows = split_rows(spec, validation, len(source.train.labels), len(source.test.labels))
    _write_split(spec, source.train, rows["train"], folder, "train")
    if source.validation is None:
        _write_split(spec, source.train, rows["validation"], folder, "validation")
    else:
        _write_split(spec, source.validation, np.arange(len(source.validation.labels)), folder, "validation")
    _write_split(spec, source.test, rows["test"], folder, "test")
    write_meta(folder, source.classes, source.place, source.notes())


def split_rows(spec: DataSpec, validation: float, train: int, test: int) -> dict[Split, NDArray[np.int64]]:
    """Return which of ``train`` samples are trained on or held out, and which of ``test`` are used: ascending indices.

    Raises DataError if more are asked for than there are, or if none are left to train on.
    """
    order = _chosen(train, spec.samples, f"{spec.name}: data.samples")
    tested = _chosen(test, spec.test_samples, f"{spec.name}: data.test_samples")
    held_out = len(order) - left_to_train(spec, len(order), validation)
    return {
        "train": np.sort(order[held_out:]),
        "validation": np.sort(order[:held_out]),
        "test": np.sort(tested),
    }


def left_to_train(spec: DataSpec, samples: int, validation: float) -> int:
    """How many samples are left when a share is held out for validation. Raises DataError if that is none."""
    left = samples - round(validation * samples)
    if not left:
        raise DataError(f"{spec.name}: a validation share of {validation} leaves none of {samples} samples to train on")
    return left


def _chosen(available: int, wanted: int | None, key: str) -> NDArray[np.int64]:
    """Indices of the samples to use, in a fixed random order."""
    if wanted is not None and wanted > available:
        raise DataError(f"{key}: {wanted} are asked for, and there are {available}")
    return np.random.default_rng(SPLIT_SEED).permutation(available)[:wanted]


def _write_split(spec: DataSpec, samples: Samples, chosen: NDArray[np.int64], folder: Path, split: Split) -> None:
    shape = spec.sample_shape
    step = max(1, CHUNK_VALUES // prod(shape))
    pieces = (chosen[start : start + step] for start in range(0, len(chosen), step))
    features = (normalised(spec, samples.rows(piece)) for piece in pieces)
    write_array(folder, f"{split}_features", (len(chosen), *shape), "<f4", features)
    labels = samples.labels[chosen]
    write_array(folder, f"{split}_labels", labels.shape, labels.dtype.newbyteorder("<"), [labels])


def normalised(spec: DataSpec, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``(pixel / white - mean) / std`` per channel in float32; features other than images are left alone."""
    features = rows.astype(np.float32)
    if isinstance(spec, ImageData):
        features /= spec.white
        if spec.mean is not None:
            features -= np.array(spec.mean, dtype=np.float32)[:, np.newaxis, np.newaxis]
        if spec.std is not None:
            features /= np.array(spec.std, dtype=np.float32)[:, np.newaxis, np.newaxis]
    return features
