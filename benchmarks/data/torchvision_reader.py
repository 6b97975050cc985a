"""Reads one of torchvision's data sets: a script for an environment that has torchvision, not to be imported.

Arguments: the name of the class in `torchvision.datasets`, the data root, and a folder for the answer. Writes there
`{train,test}_images.npy` (uint8 [n, channels, height, width]) and `{train,test}_labels.npy` (int32 [n]), and last
`answer.json` with either `classes` or a `problem` ("torchvision", "download" or "damaged") and its `detail`.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

STALL_SECONDS = 60


def read(name: str, root: Path, out: Path) -> dict[str, Any]:
    """Write the arrays and return the answer."""
    try:
        from torchvision import datasets
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: a torchvision that torch does not match
        return problem("torchvision", error)
    kind = getattr(datasets, name)
    try:
        parts, classes = load(kind, root, download=False)
    except Exception as error:
        if "not found" not in str(error):
            return problem("damaged", error)
        try:
            parts, classes = load(kind, root, download=True)
        except Exception as failure:
            return problem("download", failure)
    for part, (images, labels) in parts.items():
        np.save(out / f"{part}_images.npy", images)
        np.save(out / f"{part}_labels.npy", labels)
    return {"classes": classes}


def load(kind: Any, root: Path, download: bool) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """Return images and labels of both parts, and the names of the classes."""
    parts = {}
    for part in ("train", "test"):
        data = kind(root, train=part == "train", download=download)
        images = np.asarray(data.data)
        # MNIST and its relatives are [n, height, width], CIFAR is [n, height, width, channels].
        images = images[:, np.newaxis] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        parts[part] = (np.ascontiguousarray(images, dtype=np.uint8), np.asarray(data.targets, dtype=np.int32))
    return parts, list(data.classes)


def problem(kind: str, error: Exception) -> dict[str, Any]:
    """Return the answer for a failure, with the last line of its message: the one that says most."""
    lines = str(error).strip().splitlines()
    return {"problem": kind, "detail": lines[-1] if lines else type(error).__name__}


if __name__ == "__main__":
    socket.setdefaulttimeout(STALL_SECONDS)  # torchvision sets none, and a silent server would hold us for ever
    folder = Path(sys.argv[3])
    answer = read(sys.argv[1], Path(sys.argv[2]), folder)
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
