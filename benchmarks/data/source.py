"""What every reader of a data set returns, before normalisation."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

SHOWN = 3
"""Of many texts."""

TEST_SHARE = 0.2
SPLIT_SEED = 20_240_229  # any constant: the same samples are set aside in every experiment


@dataclass(frozen=True)
class Samples:
    """One part of a data set.

    ``labels`` are int32 ``[n]`` (class) or float32 ``[n, outputs]`` (regression target). ``rows`` returns the
    features of the samples with the given indices: uint8 ``[k, channels, height, width]`` for images, float32
    ``[k, features]`` otherwise. Features are asked for piece by piece, so that a large set is never whole in memory.
    """

    labels: NDArray[Any]
    rows: Callable[[NDArray[np.int64]], NDArray[Any]]


@dataclass(frozen=True)
class Source:
    """A data set as it is read; ``classes`` names class 0, 1, ... and is empty for a regression.

    ``place`` says where it comes from. ``validation`` is there if the set comes with such a part. ``notes`` is called
    once the rows that are wanted have been read, and returns what to tell of them; it raises DataError if some of them
    could not be read.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    place: str
    validation: Samples | None = None
    notes: Callable[[], tuple[str, ...]] = tuple


def data_root() -> Path | None:
    """Return the folder that $LOCKSTEP_DATA names, None if it is not set."""
    value = os.environ.get("LOCKSTEP_DATA")
    return Path(value).expanduser().absolute() if value else None


def download_root() -> Path:
    """Return the folder for data in torchvision's layout: $LOCKSTEP_DATA, else one in the user's cache."""
    return data_root() or user_cache_path("lockstep") / "data"


def first_of(texts: Sequence[str]) -> str:
    """Return the first few of many texts, and the number of the others."""
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def names_in(folder: Path) -> list[str]:
    """Return the sorted names of all that is in a folder; none if it is not there. Raises OSError for anything else."""
    return sorted(os.listdir(folder)) if os.path.lexists(folder) else []


def stratified_split(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set the same fifth of each class aside, for a set that comes without a test set.

    ``labels`` are int32 ``[n]``. Returns the indices of the training and of the test samples, each ascending.
    """
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        test[members[: round(TEST_SHARE * len(members))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
