"""What a script needs beside it to train exactly as a run does: initial weights, and the order of the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from benchmarks.cell.materials import draw_order, draw_parameters
from benchmarks.data.prepare import split_rows
from benchmarks.data.source import stratified_split
from benchmarks.script.rendering import Script, available


def write_files(script: Script, folder: Path) -> list[Path]:
    """Write them into a folder that exists; return their paths.

    Weights have their canonical names and layouts. The order is int64 ``[epochs, samples]``, which training sample
    comes when, and the test rows int64 ``[samples]``: both count the samples as the data set has them.
    """
    experiment = script.experiment
    train, test = rows_of(script)
    weights = folder / f"{script.stem}_weights.safetensors"
    save_file(draw_parameters(experiment), weights)
    paths = [weights]
    order = train[draw_order(experiment, len(train))]
    for name, values in (("order", order), ("test_rows", test)):
        paths.append(folder / f"{script.stem}_{name}.npy")
        np.save(paths[-1], values)
    return paths


def rows_of(script: Script) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The samples that are trained on and tested, as the data set counts them. The digits come as one set."""
    experiment = script.experiment
    spec = experiment.data
    if spec.name == "digits":
        from sklearn.datasets import load_digits

        train, test = stratified_split(load_digits().target)
        rows = split_rows(spec, experiment.validation, len(train), len(test))
        return train[rows["train"]], test[rows["test"]]
    rows = split_rows(spec, experiment.validation, available(script, "train"), available(script, "test"))
    return rows["train"], rows["test"]
