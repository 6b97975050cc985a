"""MNIST, Fashion-MNIST and CIFAR-10 in torchvision's layout; CIFAR-10 is read by torchvision itself."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.source import Samples, Source, download_root
from benchmarks.errors import DataError
from benchmarks.spec.data import Cifar10, TorchvisionData

READER = Path(__file__).with_name("torchvision_reader.py")

PATIENCE = 5.0
"""Seconds between two looks at a process that has not ended."""

# Name in an experiment: class in torchvision.datasets, and the folder below the data root that it reads.
TORCHVISION = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
}


@dataclass(frozen=True)
class Torchvision:
    """How to have torchvision at work: an interpreter that has it, and who is told of downloads, unless ``offline``."""

    python: Callable[[], Path]
    tell: Callable[[str], None]
    offline: bool = False


def torchvision_folder(spec: TorchvisionData) -> Path:
    """Return the folder that this data set is read from, whether it is there or not."""
    return download_root() / TORCHVISION[spec.name][1]


def read_cifar10(spec: Cifar10, scratch: Path, torchvision: Torchvision) -> Source:
    """Read the data set, in a process and an environment of its own.

    ``scratch`` is an existing folder that must outlive the source. Raises DataError unless the files are the published
    ones: they are pickles, which can do anything.
    """
    answer = ask_torchvision("read", spec, scratch, torchvision, lambda: None)
    classes = tuple(answer["classes"])
    train, test = (_samples(scratch, part) for part in ("train", "test"))
    return Source(train=train, test=test, classes=classes, place=str(torchvision_folder(spec)))


def ask_torchvision(
    task: str, spec: TorchvisionData, out: Path, torchvision: Torchvision, meanwhile: Callable[[], None]
) -> dict[str, Any]:
    """Run the reader's script, call ``meanwhile`` every few seconds, and return the answer. Raises DataError."""
    python = torchvision.python()
    # Isolated (-I): neither this folder nor the caller's PYTHONPATH may shadow what that environment holds.
    command = [str(python), "-I", str(READER), task, TORCHVISION[spec.name][0], str(download_root()), str(out)]
    try:
        code, printed = _run(command, meanwhile)
    except OSError as error:
        raise DataError(f"{spec.name} needs torchvision, but {python} does not start: {error.strerror}") from error
    if code:
        last = (printed.strip() or f"exit status {code}").splitlines()[-1]
        raise DataError(f"{spec.name}: torchvision could not {task} it: {last}")
    answer: dict[str, Any] = json.loads((out / "answer.json").read_text(encoding="utf-8"))
    if "problem" in answer:
        raise DataError(_explain(spec, python, answer["problem"], answer["detail"]))
    return answer


def _run(command: list[str], meanwhile: Callable[[], None]) -> tuple[int, str]:
    """Run a command; return its exit code and what it wrote to stderr."""
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=pipe, text=True, errors="replace") as process:
        try:
            while True:
                try:
                    _, printed = process.communicate(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    meanwhile()
                else:
                    return process.returncode, printed
        except BaseException:  # a signal may be for this process alone
            process.kill()
            raise


def _explain(spec: TorchvisionData, python: Path, problem: str, detail: str) -> str:
    root, folder = download_root(), torchvision_folder(spec)
    if problem == "torchvision":
        return f"{spec.name} needs torchvision, which {python} cannot import: {detail}"
    if problem == "files":
        return (
            f"{spec.name} in {root} is not the published one: {detail} missing or different; nothing was changed "
            'there; for pictures of your own, take data.name = "picture-folder"'
        )
    return (
        f"{spec.name} is not in {root} and could not be downloaded: {detail}; "
        f"copy it to {folder}, or set LOCKSTEP_DATA to a folder that has it in torchvision's layout"
    )


def _samples(scratch: Path, part: str) -> Samples:
    images = np.load(scratch / f"{part}_images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(scratch / f"{part}_labels.npy", allow_pickle=False)
    return Samples(labels=labels, rows=images.__getitem__)
