"""What a script needs beside it to train exactly as a run does: initial weights, and the order of the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from benchmarks.cell.materials import draw_order, draw_parameters
from benchmarks.script.rendering import Script
from benchmarks.script.samples import Rows


def write_files(script: Script, rows: Rows, folder: Path) -> list[Path]:
    """Write them into a folder that exists; return their paths.

    Weights have their canonical names and layouts. The order is int64 ``[epochs, samples]``, which training sample
    comes when, and the test rows int64 ``[samples]``: both count the samples as the data set has them. Raises OSError.
    """
    weights = folder / f"{script.stem}_weights.safetensors"
    weights.write_bytes(save(draw_parameters(script.experiment)))
    paths, train = [weights], rows["train"]
    for name, values in (("order", train[draw_order(script.experiment, len(train))]), ("test_rows", rows["test"])):
        paths.append(folder / f"{script.stem}_{name}.npy")
        np.save(paths[-1], values)
    return paths
