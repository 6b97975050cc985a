"""The files of MNIST and Fashion-MNIST: found, checked and read."""

import difflib
import struct
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.data.source import Samples, Source, first_of, names_in
from benchmarks.errors import DataError
from benchmarks.spec.data import FashionMnist, Mnist

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
GZIP = b"\x1f\x8b"

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASSES = {
    "mnist": tuple(f"{number} - {word}" for number, word in enumerate(DIGITS)),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}


def find_idx_files(spec: Mnist | FashionMnist, folder: Path) -> list[Path]:
    """Return the four files of a set in its folder; none if there is nothing in it, or no folder.

    A folder that holds anything has to hold all of them, and good ones: it is the user's, and nothing is downloaded
    into it. Raises DataError with all that is wrong.
    """
    there = names_in(folder)
    beside = [name for name in names_in(folder.parent) if difflib.get_close_matches(name, _expected(), 1, 0.8)]
    if not there and not beside:
        return []
    if missing := [name for name in _expected() if name not in there]:
        hints = [_hint(name, there) for name in missing]
        elsewhere = f"; beside it are {first_of(beside)}: they belong into that folder" if beside else ""
        raise DataError(f"{spec.name}: {folder} lacks {', '.join(hints)}{elsewhere}")
    files = [folder / name for name in _expected()]
    shape = spec.sample_shape[1:]
    if problems := [problem for file in files if (problem := _problem(file, shape if "images" in file.name else ()))]:
        raise DataError(f"{spec.name}: {'; '.join(problems)}")
    return files


def read_idx_files(spec: Mnist | FashionMnist, folder: Path) -> Source:
    """Return the set in files that ``find_idx_files`` has found good. Raises DataError if labels do not fit."""
    train, test = (_samples(spec, *(folder / name for name in FILES[part])) for part in ("train", "test"))
    return Source(train=train, test=test, classes=CLASSES[spec.name], place=str(folder))


def _expected() -> list[str]:
    return [name for names in FILES.values() for name in names]


def _hint(missing: str, there: list[str]) -> str:
    """Name a missing file, and the one that may be it."""
    close = difflib.get_close_matches(missing, [name for name in there if name not in _expected()], n=1, cutoff=0.8)
    if not close:
        return missing
    remedy = "unpack it there with gunzip" if close[0] == f"{missing}.gz" else "rename it if it is that"
    return f"{missing} ({close[0]} is there: {remedy})"


def _problem(file: Path, shape: tuple[int, ...]) -> str:
    """Say what is wrong with a file whose samples are to have this shape; empty if nothing is."""
    if not file.is_file():
        return f"{file} is no file"
    with file.open("rb") as opened:
        header = opened.read(4 * (2 + len(shape)))
    if header.startswith(GZIP):
        return f"{file} is compressed with gzip; unpack it, under the same name"
    if len(header) < 4 * (2 + len(shape)):
        return f"{file} is cut: it ends within its header"
    if header[:2] != b"\0\0" or header[2] not in TYPES:
        return f"{file} is no IDX file: it begins with {header[:4].hex(' ')}, not with 00 00 08 0{1 + len(shape)}"
    if (held := TYPES[header[2]]) != "uint8":
        return f"{file} holds {held}; uint8 is needed"
    if header[3] != 1 + len(shape):
        return f"{file} has {header[3]} dimensions; {1 + len(shape)} are needed"
    announced, *pixels = struct.unpack(f">{1 + len(shape)}I", header[4:])
    if tuple(pixels) != shape:
        has, needed = ("x".join(map(str, sides)) for sides in (pixels, shape))
        return f"{file} holds images of {has} pixels; {needed} are needed (picture-folder takes pictures of any size)"
    there = (file.stat().st_size - len(header)) / prod(shape)
    if there != announced or not announced:
        return f"{file} announces {announced:,} samples, but has the bytes of {there:,.8g}"
    return ""


def _samples(spec: Mnist | FashionMnist, images: Path, labels: Path) -> Samples:
    classes = np.fromfile(labels, np.uint8, offset=8).astype(np.int32)
    pixels = np.memmap(images, np.uint8, "r", offset=16).reshape(-1, *spec.sample_shape)
    if len(classes) != len(pixels):
        raise DataError(f"{spec.name}: {labels} has {len(classes):,} labels for the {len(pixels):,} images of {images}")
    if classes.max() >= len(CLASSES[spec.name]):
        raise DataError(f"{spec.name}: {labels} holds the label {classes.max()}; 0 to 9 are needed")
    return Samples(labels=classes, rows=pixels.__getitem__)
