"""Prepared data on disk: one folder of `.npy` files and a `meta.json` that tells whether they are intact."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
PURPOSES: dict[Split, str] = {"train": "train on", "validation": "validate", "test": "test"}
SHOWN_CLASSES = 12
META = "meta.json"


class DamagedError(Exception):
    """A folder of prepared data is not as it was written; the message says what is wrong."""


@dataclass(frozen=True)
class PreparedData:
    """A data set, ready to be memory-mapped.

    ``features`` and ``labels`` give the `.npy` file of each split: C-contiguous float32 ``[n, *input_shape]``, and
    int32 ``[n]`` (class) or float32 ``[n, outputs]`` (regression target). ``input_shape`` is ``(channels, height,
    width)`` or ``(features,)``; ``sizes`` are samples per split, 0 for a validation set that was not asked for.
    ``classes`` names class 0, 1, ... and is empty for a regression. ``hash`` (sha256) changes with any byte, shape or
    dtype of any array and with the classes; it does not depend on the machine or on when the data was prepared.
    ``place`` says where the data comes from, ``notes`` what else there is to tell, such as how pictures were changed.
    """

    folder: Path
    hash: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    sizes: Mapping[Split, int]
    place: str
    notes: tuple[str, ...]

    @property
    def description(self) -> str:
        """What was found and taken, in one line."""
        sizes = [f"{self.sizes[split]:,} to {purpose}" for split, purpose in PURPOSES.items() if self.sizes[split]]
        shown = ", ".join(self.classes[:SHOWN_CLASSES]) + (", ..." if len(self.classes) > SHOWN_CLASSES else "")
        classes = [f"{len(self.classes)} classes: {shown}"] if self.classes else []
        return "; ".join([f"{self.place}: {', '.join(sizes)}", *classes, *self.notes])

    def features(self, split: Split) -> Path:
        """Return the file of the features of a split."""
        return _file(self.folder, f"{split}_features")

    def labels(self, split: Split) -> Path:
        """Return the file of the labels of a split."""
        return _file(self.folder, f"{split}_labels")

    def load(self, split: Split) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return features and labels of a split, memory-mapped and read-only."""
        return _load(self.features(split)), _load(self.labels(split))


class _Meta(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    place: str
    notes: tuple[str, ...]
    arrays: dict[str, str]  # name of the array: sha256 of its file
    hash: str


def write_array(folder: Path, name: str, shape: tuple[int, ...], dtype: DTypeLike, chunks: Iterable[Any]) -> None:
    """Write `NAME.npy` from consecutive pieces along the first axis, so that it is never whole in memory.

    Plain writes, not a memory map: on a full disk they raise OSError, where a map would kill the process.
    """
    with _file(folder, name).open("xb") as file:
        description = np.lib.format.dtype_to_descr(np.dtype(dtype))
        header = {"descr": description, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, dtype=dtype).data)
        file.flush()
        os.fsync(file.fileno())


def write_meta(folder: Path, classes: tuple[str, ...], place: str, notes: tuple[str, ...]) -> None:
    """Seal a folder whose arrays are all written."""
    arrays = {name: _digest(folder, name) for name in _names()}
    meta = _Meta(classes=classes, place=place, notes=notes, arrays=arrays, hash=_combined(arrays, classes))
    with (folder / META).open("x", encoding="utf-8") as file:
        file.write(meta.model_dump_json(indent=2))
        file.flush()
        os.fsync(file.fileno())


def open_prepared(folder: Path) -> PreparedData:
    """Return the prepared data in a folder, after reading all of it once to see that it is intact.

    Raises DamagedError if anything in it differs from what was written.
    """
    try:
        meta = _Meta.model_validate_json((folder / META).read_text(encoding="utf-8"))
        if meta.hash != _combined(meta.arrays, meta.classes) or sorted(meta.arrays) != sorted(_names()):
            raise DamagedError(f"{META} has changed")
        for name, digest in meta.arrays.items():
            if _digest(folder, name) != digest:
                raise DamagedError(f"{name}.npy has changed")
    except OSError as error:
        raise DamagedError(f"{Path(error.filename or folder).name}: {error.strerror}") from error
    except ValueError as error:
        raise DamagedError(f"{META} cannot be read") from error
    features = {split: _load(_file(folder, f"{split}_features")) for split in SPLITS}
    sizes = {split: len(array) for split, array in features.items()}
    shape = features["train"].shape[1:]
    return PreparedData(folder, meta.hash, meta.classes, shape, sizes, meta.place, meta.notes)


def _names() -> list[str]:
    return [f"{split}_{kind}" for split in SPLITS for kind in ("features", "labels")]


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _load(file: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    return array


def _digest(folder: Path, name: str) -> str:
    # The file begins with the shape and the dtype, in a header whose form write_array fixes: they are hashed too.
    with _file(folder, name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _combined(arrays: Mapping[str, str], classes: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([dict(arrays), classes], sort_keys=True).encode()).hexdigest()
