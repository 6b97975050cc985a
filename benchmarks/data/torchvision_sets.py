"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision, which runs in a process and an environment of its own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.data.source import Samples, Source, download_root
from benchmarks.errors import DataError
from benchmarks.spec.data import TorchvisionData

READER = Path(__file__).with_name("torchvision_reader.py")

# Name in an experiment: class in torchvision.datasets, and the folder below the data root that it reads.
TORCHVISION = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
}


def torchvision_folder(spec: TorchvisionData) -> Path:
    """Return the folder that torchvision reads this data set from, whether it is there or not."""
    return download_root() / TORCHVISION[spec.name][1]


def read_torchvision(spec: TorchvisionData, scratch: Path, torchvision_python: Callable[[], Path]) -> Source:
    """Read the data set, or download it first if it is not there.

    ``scratch`` is an existing folder that must outlive the source; ``torchvision_python`` returns an interpreter
    that has torchvision. Raises DataError if the data set is damaged, or not there and not to be downloaded.
    """
    root = download_root()
    python = torchvision_python()
    name = TORCHVISION[spec.name][0]
    # Isolated (-I): neither this folder nor the caller's PYTHONPATH may shadow what that environment holds.
    command = [str(python), "-I", str(READER), name, str(root), str(scratch)]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise DataError(f"{spec.name} needs torchvision, but {python} does not start: {error.strerror}") from error
    if ended.returncode:
        lines = (ended.stderr.strip() or f"exit status {ended.returncode}").splitlines()
        raise DataError(f"{spec.name} could not be read with torchvision from {root}: {lines[-1]}")
    answer = json.loads((scratch / "answer.json").read_text(encoding="utf-8"))
    if "problem" in answer:
        raise DataError(_explain(spec, root, python, answer["problem"], answer["detail"]))
    classes = tuple(answer["classes"])
    train, test = (_samples(spec, scratch, part, len(classes)) for part in ("train", "test"))
    return Source(train=train, test=test, classes=classes)


def _explain(spec: TorchvisionData, root: Path, python: Path, problem: str, detail: str) -> str:
    folder = torchvision_folder(spec)
    if problem == "torchvision":
        return f"{spec.name} needs torchvision, which {python} cannot import: {detail}"
    if problem == "damaged":
        return f"{spec.name} in {folder} cannot be read: {detail}; remove that folder to have it downloaded again"
    return (
        f"{spec.name} is not in {root} and could not be downloaded: {detail}; "
        f"copy it to {folder}, or set LOCKSTEP_DATA to a folder that has it in torchvision's layout"
    )


def _samples(spec: TorchvisionData, scratch: Path, part: str, classes: int) -> Samples:
    images = np.load(scratch / f"{part}_images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(scratch / f"{part}_labels.npy", allow_pickle=False)
    if len(images) != len(labels) or not np.all((labels >= 0) & (labels < classes)):
        raise DataError(f"{spec.name} in {torchvision_folder(spec)} is damaged: its labels do not fit its images")
    return Samples(labels=labels, rows=images.__getitem__)
