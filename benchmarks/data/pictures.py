"""A folder of class folders of pictures."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.data.source import Samples, Source, data_root, stratified_split
from benchmarks.errors import DataError
from benchmarks.spec.data import VALUES_LIMIT, PictureFolder

# Pictures and nothing else: Pillow hands some other formats to external programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
PIXELS_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Part:
    """The picture files of one part of the data set, sorted, and the class of each, int32 ``[n]``."""

    files: tuple[Path, ...]
    labels: NDArray[np.int32]

    def only(self, chosen: NDArray[np.int64]) -> "Part":
        """Return the pictures with these indices."""
        return Part(tuple(self.files[i] for i in chosen), self.labels[chosen])


@dataclass(frozen=True)
class Listing:
    """All picture files of a folder; ``classes`` are the names of the class folders, sorted."""

    folder: Path
    classes: tuple[str, ...]
    train: Part
    test: Part


def list_pictures(spec: PictureFolder, base: Path) -> Listing:
    """Find the pictures, without opening them; hidden files and files beside the class folders are left out.

    Names are sorted by code point, so the order is the same everywhere. A relative path starts at $LOCKSTEP_DATA,
    or at ``base`` if that is not set. Raises DataError if the folder or a class is not there or is empty.
    """
    folder = ((data_root() or base) / spec.path.expanduser()).absolute()
    if not folder.is_dir():
        raise DataError(f"data.path: there is no folder {folder}")
    try:
        parts = [name for name in _names(folder, folders=True) if name in ("train", "test")]
        if len(parts) == 1:
            raise DataError(f"data.path: {folder} has a {parts[0]} folder; it needs both train and test, or neither")
        listing = _two_parts(folder) if parts else _one_part(folder)
    except OSError as error:
        raise DataError(f"data.path: cannot list {error.filename}: {error.strerror}") from error
    values = (len(listing.train.files) + len(listing.test.files)) * spec.channels * spec.size[0] * spec.size[1]
    if values > VALUES_LIMIT:
        raise DataError(f"data.path: the pictures in {folder} take {values} values, more than {VALUES_LIMIT}")
    return listing


def _two_parts(folder: Path) -> Listing:
    classes = _names(folder / "train", folders=True)
    unknown = sorted(set(_names(folder / "test", folders=True)) - set(classes))
    if unknown:
        raise DataError(f"data.path: {folder / 'test' / unknown[0]} is a class that {folder / 'train'} does not have")
    train, test = _part(folder / "train", classes), _part(folder / "test", classes)
    _need_every_class(folder / "train", classes, train)
    if not test.files:
        raise DataError(f"data.path: {folder / 'test'} has no pictures")
    return Listing(folder, classes, train, test)


def _one_part(folder: Path) -> Listing:
    classes = _names(folder, folders=True)
    every = _part(folder, classes)
    _need_every_class(folder, classes, every)
    train, test = stratified_split(every.labels)
    if not len(test):
        raise DataError(f"data.path: {folder} has too few pictures to set a fifth of each class aside as the test set")
    return Listing(folder, classes, every.only(train), every.only(test))


def _names(folder: Path, folders: bool) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        shown = (entry for entry in entries if not entry.name.startswith("."))
        return tuple(sorted(entry.name for entry in shown if entry.is_dir() or not folders))


def _part(folder: Path, classes: tuple[str, ...]) -> Part:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if (folder / name).is_dir():  # the test set may lack a class
            found = [folder / name / file for file in _names(folder / name, folders=False)]
            files += found
            labels += [label] * len(found)
    return Part(tuple(files), np.array(labels, dtype=np.int32))


def _need_every_class(folder: Path, classes: tuple[str, ...], part: Part) -> None:
    if not classes:
        raise DataError(f"data.path: {folder} has no class folders")
    for label, name in enumerate(classes):
        if not np.any(part.labels == label):
            raise DataError(f"data.path: the class folder {folder / name} has no pictures")


def read_pictures(spec: PictureFolder, listing: Listing) -> Source:
    """Return the pictures of a listing as uint8 ``[n, channels, height, width]``, resized where they have to be.

    Raises DataError, when the rows are read, for a file that is not a picture or is too large.
    """

    def samples(part: Part) -> Samples:
        def rows(chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
            # One thread: on small pictures four take twice as long, since most of the work holds Python's lock.
            return np.stack([_read_picture(part.files[i], spec).pixels for i in chosen])

        return Samples(labels=part.labels, rows=rows)

    return Source(train=samples(listing.train), test=samples(listing.test), classes=listing.classes)


@dataclass(frozen=True)
class Picture:
    """A picture as a model gets it, uint8 ``[channels, height, width]``, and what had to be changed for that."""

    pixels: NDArray[np.uint8]
    changes: tuple[str, ...]


def read_picture(file: Path, shape: tuple[int, ...]) -> Picture:
    """Read a picture, resized and with its colours converted to ``shape``, (channels, height, width).

    Raises DataError for a file that is not a picture, is damaged, is too large, or has more than 8 bits per channel.
    """
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    changes = []
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > PIXELS_LIMIT:
                raise DataError(
                    f"{file} has {image.width}x{image.height} pixels, over {PIXELS_LIMIT:,}; make it smaller"
                )
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{file} has more than 8 bits per channel; convert it to 8 bits")
            if image.mode != mode:
                changes.append(f"converted from {image.mode} to {mode}")
            picture = image.convert(mode)
            if picture.size != (width, height):
                changes.append(f"resized from {picture.width}x{picture.height} to {width}x{height} pixels")
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        raise DataError(f"{file} cannot be read as a picture: {error}; repair or remove it") from error
    return Picture(np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1), tuple(changes))


def _read_picture(file: Path, spec: PictureFolder) -> Picture:
    try:
        return read_picture(file, spec.sample_shape)
    except DataError as error:
        raise DataError(f"data.path: {error}") from error
