"""Short ways to say what the tests of the data room say often."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from benchmarks.data import PreparedData, prepare
from benchmarks.spec.data import DataSpec

SPEC: TypeAdapter[DataSpec] = TypeAdapter(DataSpec)


def no_torchvision() -> Path:
    raise AssertionError("this data set does not need torchvision")


def prepared(table: dict[str, Any], validation: float = 0.0, base: Path = Path("/nowhere")) -> PreparedData:
    return prepare(SPEC.validate_python(table), validation, base, no_torchvision)


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
