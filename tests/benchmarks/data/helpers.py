"""Short ways to say what the tests of the data room say often."""

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from benchmarks.data import PreparedData, Torchvision, prepare
from benchmarks.spec.data import DataSpec

SPEC: TypeAdapter[DataSpec] = TypeAdapter(DataSpec)


def _no_torchvision() -> Path:
    raise AssertionError("this data set does not need torchvision")


NO_TORCHVISION = Torchvision(_no_torchvision, print)


def prepared(
    table: dict[str, Any],
    validation: float = 0.0,
    base: Path = Path("/nowhere"),
    torchvision: Torchvision = NO_TORCHVISION,
) -> PreparedData:
    return prepare(SPEC.validate_python(table), validation, base, torchvision)


def hashes(folder: Path) -> dict[str, str]:
    """What is in a folder, to the byte."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def idx(array: NDArray[Any], code: int = 0x08, announced: int | None = None) -> bytes:
    """An array as a file of MNIST's form, with the code of its type and, if wished, another number of samples."""
    shape = (len(array) if announced is None else announced, *array.shape[1:])
    big = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *shape) + big


def write_idx(file: Path, array: NDArray[Any], code: int = 0x08) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(idx(array, code))


def write_mnist(folder: Path, train: int = 7, test: int = 3) -> dict[str, NDArray[np.uint8]]:
    """Write a set of noise in the form of MNIST; return the pixels of ``train`` and ``t10k``."""
    random = np.random.default_rng(0)
    sizes = {"train": train, "t10k": test}
    pixels = {part: random.integers(0, 256, (size, 28, 28), dtype=np.uint8) for part, size in sizes.items()}
    for part, images in pixels.items():
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", (np.arange(len(images)) % 10).astype(np.uint8))
    return pixels


def save_picture(file: Path, colour: int | tuple[int, ...], size: tuple[int, int] = (4, 4), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


def nearest_mean_accuracy(data: PreparedData) -> float:
    """Test accuracy of the simplest classifier there is: the class whose mean image is nearest."""
    features, labels = (np.asarray(array) for array in data.load("train"))
    means = np.stack([features[labels == label].mean(axis=0).ravel() for label in range(len(data.classes))])
    test, expected = data.load("test")
    distances = ((test.reshape(len(test), 1, -1) - means) ** 2).sum(axis=2)
    return float((distances.argmin(axis=1) == expected).mean())
