"""Which samples of a data set a script trains on and tests, found out without reading the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Split
from benchmarks.data.picture_folder import list_pictures
from benchmarks.data.prepare import split_rows
from benchmarks.data.source import stratified_split
from benchmarks.errors import InputError
from benchmarks.spec.data import Cifar10, Digits, FashionMnist, GeneratedImages, LinearRegression, Mnist, PictureFolder
from benchmarks.spec.experiment import Experiment

Rows = dict[Split, NDArray[np.int64]]


def rows_of(experiment: Experiment, folder: Path) -> tuple[Rows, Sequence[str]]:
    """The rows of each part, as the data set counts its samples, and the names of the classes.

    The digits come as one set. A relative path of pictures starts at $LOCKSTEP_DATA or ``folder``. Raises DataError,
    and InputError for a part of a picture folder.
    """
    spec, validation = experiment.data, experiment.validation
    numbered = [] if spec.is_regression else [str(label) for label in range(spec.outputs or 0)]
    match spec:
        case Digits():
            from sklearn.datasets import load_digits

            train, test = stratified_split(load_digits().target)
            rows = split_rows(spec, validation, len(train), len(test))
            of_both = {"train": train, "validation": train, "test": test}
            return {part: of_both[part][chosen] for part, chosen in rows.items()}, numbered
        case PictureFolder():
            if spec.samples or spec.test_samples:
                raise InputError("script: a part of a picture folder (data.samples) has no script; take all of it")
            listing = list_pictures(spec, folder, validation)
            sizes = len(listing.train.files), len(listing.test.files)
            return split_rows(spec, validation, *sizes), listing.classes
        case Mnist() | FashionMnist():
            return split_rows(spec, validation, 60_000, 10_000), numbered
        case Cifar10():
            return split_rows(spec, validation, 50_000, 10_000), numbered
        case LinearRegression() | GeneratedImages():
            return split_rows(spec, validation, spec.samples, spec.test_samples), numbered
