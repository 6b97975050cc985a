"""A folder of class folders of pictures."""

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.cache import Split
from benchmarks.data.pictures import Change, in_one_line, read_picture
from benchmarks.data.source import Samples, Source, data_root, first_of, stratified_split
from benchmarks.errors import DataError
from benchmarks.spec.data import VALUES_LIMIT, PictureFolder

PARTS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What the folder of a part may be called, in large or small letters."""

READ = (
    "what is read is CLASS/PICTURE, or train/CLASS/PICTURE and test/CLASS/PICTURE (or training, testing), and "
    "valid/CLASS/PICTURE (or val, validation)"
)


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
    validation: Part | None = None
    notes: tuple[str, ...] = ()
    """What to tell of how the folder was read."""

    @property
    def files(self) -> list[Path]:
        """All of them."""
        parts = (self.train, self.test, self.validation)
        return [file for part in parts if part for file in part.files]


def list_pictures(spec: PictureFolder, base: Path, validation: float = 0.0) -> Listing:
    """Find the pictures, without opening them; hidden files and files beside the class folders are left out.

    Names are sorted by code point, so the order is the same everywhere. A relative path starts at $LOCKSTEP_DATA,
    or at ``base`` if that is not set. Raises DataError if the folder or a class is not there or is empty, or if a share
    of the training set is asked for as ``validation`` and the folder has such a part.
    """
    folder = ((data_root() or base) / spec.path.expanduser()).absolute()
    if not folder.is_dir():
        raise DataError(f"data.path: there is no folder {folder}")
    try:
        parts = _parts(folder)
        listing = _in_parts(folder, parts) if parts else _one_part(folder)
    except OSError as error:
        raise DataError(f"data.path: cannot list {error.filename}: {error.strerror}") from error
    if validation and listing.validation:
        raise DataError(
            f"validation: {validation} of {parts['train']} is asked for, and {parts['validation']} is there; leave "
            "validation out of the experiment to use that folder"
        )
    values = len(listing.files) * spec.channels * spec.size[0] * spec.size[1]
    if values > VALUES_LIMIT:
        raise DataError(f"data.path: the pictures in {folder} take {values} values, more than {VALUES_LIMIT}")
    return listing


def _parts(folder: Path) -> dict[Split, Path]:
    """Return the folder of each part, {} if there are none: a part holds class folders, a class holds pictures."""
    named = [name for name in _names(folder, folders=True) if name.lower() in PARTS]
    parts = {PARTS[name.lower()]: folder / name for name in named}
    if len(parts) < 2 and not any(_names(folder / name, folders=True) for name in named):
        return {}  # one class may have such a name
    found = ", ".join(named)
    if len(parts) < len(named):
        raise DataError(f"data.path: {folder} has {found}: two folders for the same part; {READ}")
    if missing := [part for part in ("train", "test") if part not in parts]:
        raise DataError(f"data.path: {folder} has {found}, and no {' and no '.join(missing)} folder; {READ}")
    return parts


def _in_parts(folder: Path, parts: dict[Split, Path]) -> Listing:
    classes = _names(parts["train"], folders=True)
    unknown = [
        str(path / name) for path in parts.values() for name in _names(path, folders=True) if name not in classes
    ]
    if unknown:
        raise DataError(f"data.path: {parts['train']} does not have the classes {first_of(unknown)}")
    listed = {part: _part(path, classes) for part, path in parts.items()}
    _need_every_class(parts["train"], classes, listed["train"])
    if empty := [str(parts[part]) for part in parts if not listed[part].files]:
        raise DataError(f"data.path: {first_of(empty)} has no pictures in class folders; {READ}")
    beside = [str(folder / name) for name in _names(folder, folders=True) if folder / name not in parts.values()]
    notes = (f"not used: {first_of(beside)}",) if beside else ()
    return Listing(folder, classes, listed["train"], listed["test"], listed.get("validation"), notes)


def _one_part(folder: Path) -> Listing:
    classes = _names(folder, folders=True)
    every = _part(folder, classes)
    _need_every_class(folder, classes, every)
    train, test = stratified_split(every.labels)
    if not len(test):
        raise DataError(
            f"data.path: {folder} has too few pictures to set a fifth of each class aside as the test set; its class "
            f"folders are {first_of(classes)}; {READ}"
        )
    notes = ("the test set is a fifth of each class",)
    return Listing(folder, classes, every.only(train), every.only(test), notes=notes)


def _names(folder: Path, folders: bool) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        shown = (entry for entry in entries if not entry.name.startswith("."))
        return tuple(sorted(entry.name for entry in shown if entry.is_dir() or not folders))


def _part(folder: Path, classes: tuple[str, ...]) -> Part:
    files: list[Path] = []
    labels: list[int] = []
    inner: list[str] = []
    for label, name in enumerate(classes):
        if (folder / name).is_dir():  # the test set may lack a class
            found = [folder / name / file for file in _names(folder / name, folders=False)]
            inner += [str(folder / name / file) for file in _names(folder / name, folders=True)]
            files += found
            labels += [label] * len(found)
    if inner:
        raise DataError(f"data.path: there are folders within class folders: {first_of(inner)}; {READ}")
    return Part(tuple(files), np.array(labels, dtype=np.int32))


def _need_every_class(folder: Path, classes: tuple[str, ...], part: Part) -> None:
    if not classes:
        raise DataError(f"data.path: {folder} has no class folders; {READ}")
    for name in classes:
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise DataError(f"data.path: the name of the class folder {name!r} in {folder} is no text; rename it")
    empty = [str(folder / name) for label, name in enumerate(classes) if not np.any(part.labels == label)]
    if empty:
        raise DataError(f"data.path: these class folders have no pictures: {first_of(empty)}")


@dataclass
class _Tally:
    """Reads pictures, and keeps what there is to tell of them."""

    shape: tuple[int, ...]
    read: int = 0
    bad: list[str] = field(default_factory=list)
    changes: Counter[Change] = field(default_factory=Counter)

    def pixels(self, file: Path) -> NDArray[np.uint8]:
        """Read a picture; if it is bad, that is kept to be told with the others."""
        self.read += 1
        try:
            picture = read_picture(file, self.shape)
        except DataError as error:
            self.bad.append(str(error))
            return np.zeros(self.shape, np.uint8)
        self.changes.update(picture.changes)
        return picture.pixels

    def notes(self) -> tuple[str, ...]:
        """Tell how many pictures were changed, and how. Raises DataError if any was bad."""
        if self.bad:
            raise DataError(f"data.path: {in_one_line(self.bad, self.read)}")
        notes = []
        for done in dict.fromkeys(change.done for change, _ in self.changes.most_common()):
            counts = [(number, change) for change, number in self.changes.most_common() if change.done == done]
            kinds = first_of([f"{number:,} from {change.before}" for number, change in counts])
            notes.append(f"{sum(number for number, _ in counts):,} of {self.read:,} pictures {done} ({kinds})")
        return tuple(notes)


def read_pictures(spec: PictureFolder, listing: Listing) -> Source:
    """Return the pictures of a listing as uint8 ``[n, channels, height, width]``, as ``read_picture`` reads them.

    ``notes`` of it raises DataError with all pictures that are bad, of those that were read.
    """
    tally = _Tally(spec.sample_shape)

    def samples(part: Part) -> Samples:
        def rows(chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
            # One thread: on small pictures four take twice as long, since most of the work holds Python's lock.
            return np.stack([tally.pixels(part.files[i]) for i in chosen])

        return Samples(labels=part.labels, rows=rows)

    return Source(
        train=samples(listing.train),
        test=samples(listing.test),
        classes=listing.classes,
        place=str(listing.folder),
        validation=samples(listing.validation) if listing.validation else None,
        notes=lambda: (*listing.notes, *tally.notes()),
    )
