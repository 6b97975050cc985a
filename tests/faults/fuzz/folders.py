"""Folders of data: pictures, MNIST's and CIFAR-10's files, with odd names, types, sizes and ends."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter

from benchmarks.data import PreparedData, Torchvision, prepare
from benchmarks.errors import DataError
from benchmarks.spec.data import DataSpec
from tests.benchmarks.data import stand_in
from tests.benchmarks.data.helpers import idx
from tests.faults.fuzz.ground import Ground

SPEC: TypeAdapter[DataSpec] = TypeAdapter(DataSpec)

Table = dict[str, Any]


@dataclass(frozen=True)
class File:
    """What lies at a place in a folder."""

    path: bytes
    content: bytes
    what: str


def rarely(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], times: int) -> st.SearchStrategy[Any]:
    """The odd one about every so many times."""
    # Hypothesis prefers the ends of a range.
    return st.integers(0, times).flatmap(lambda number: odd if number == times // 2 else usual)


CUT = st.integers(0, 400).map(lambda end: lambda content: content[:end])
SPOILT = st.tuples(st.integers(0, 300), st.integers(1, 255)).map(lambda change: partial(_flipped, *change))
CHANGES: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    CUT,
    SPOILT,
    st.sampled_from([lambda content: b"", lambda content: b"text", gzip.compress, lambda content: content + b"\0"]),
)
WHATS = rarely(st.just("file"), st.sampled_from(["folder", "pipe", "broken link", "link", "loop", "unreadable"]), 120)


def _flipped(place: int, bits: int, content: bytes) -> bytes:
    changed = bytearray(content)
    if content:
        changed[place % len(content)] ^= bits
    return bytes(changed)


def _intact(content: bytes) -> bytes:
    return content


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """A picture in some format, mode, size and orientation."""
    modes = st.sampled_from(["L", "RGB", "P", "1", "LA", "RGBA", "CMYK", "YCbCr"])
    mode = draw(rarely(modes, st.sampled_from(["I;16", "F", "LAB"]), 60))
    forms = st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
    form = draw(rarely(forms, st.just("PCX"), 60))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    frames = draw(rarely(st.just(1), st.integers(2, 4), 9))
    options: Table = {"save_all": True, "append_images": [Image.new(mode, size)] * (frames - 1)} if frames > 1 else {}
    if draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(0, 9))
        exif[draw(st.sampled_from([0x010F, 0x0132, 0x8769, 0x8825]))] = draw(st.integers(0, 99) | st.text(max_size=9))
        options["exif"] = exif
    if draw(st.booleans()):
        options["transparency"] = 0
    buffer = io.BytesIO()
    try:
        Image.new(mode, size).save(buffer, form, **options)
    except Exception:  # not every format has every mode
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, form)
    return buffer.getvalue()


CLASSES = rarely(
    st.sampled_from([b"a", b"b", b"c"]),
    st.sampled_from(
        [b"train", b"Test", b"val", b".hidden", b"caf\xe9", b"new\nline", "数字".encode(), b" ", b"-x", b"x" * 200]
    ),
    12,
)
LAYOUTS = st.sampled_from(
    [
        *([b""], [b"train", b"test"], [b"Training", b"TESTING"], [b"train", b"valid", b"test"]) * 3,
        *([b"train", b"val"], [b"test"], [b"train", b"Train", b"test"], [b"train", b"test", b"extra"], [b"deep/er"]),
    ]
)


@st.composite
def picture_folders(draw: st.DrawFn) -> tuple[Table, float, list[File]]:
    """A table of `[data]`, the share for validation, and what is in the folder."""
    files = []
    classes = draw(st.lists(CLASSES, min_size=1, max_size=2, unique=True))
    for part in draw(LAYOUTS):
        for name in [name for name in classes if draw(rarely(st.just(True), st.just(False), 20))]:
            for number in range(draw(st.integers(3, 4))):
                ending = draw(rarely(st.just(b".png"), st.sampled_from([b"", b".JPG", b"\xff", b"\n", b" (1).png"]), 9))
                content = draw(rarely(st.just(_intact), CHANGES, 60))(draw(pictures()))
                path = b"/".join([part, name, str(number).encode() + ending]).lstrip(b"/")
                files.append(File(path, content, draw(WHATS)))
    table: Table = {"name": "picture-folder", "size": [4, 5], "greyscale": draw(st.booleans())}
    if draw(rarely(st.just(False), st.just(True), 9)):
        table["samples"] = draw(st.integers(1, 20))
    return table, draw(rarely(st.just(0.0), st.just(0.3), 5)), files


@st.composite
def idx_folders(draw: st.DrawFn) -> tuple[Table, float, list[File]]:
    """The same in the form of MNIST."""
    files = []
    for part in ("train", "t10k"):
        count = draw(st.integers(0, 9)) if draw(rarely(st.just(False), st.just(True), 9)) else 6
        for kind, shape in (("images-idx3", (28, 28)), ("labels-idx1", ())):
            shape = draw(rarely(st.just(shape), st.sampled_from([(20, 20), (28, 28, 3), (0, 28), (7,)]), 30))
            code, dtype = draw(
                rarely(st.just((8, "u1")), st.sampled_from([(13, ">f4"), (11, ">i2"), (9, "i1"), (99, "u1")]), 30)
            )
            announced = count + draw(rarely(st.just(0), st.sampled_from([1, -1, 2**31]), 30))
            values = np.full((count, *shape), draw(rarely(st.just(3), st.integers(0, 99), 30)), dtype)
            content = draw(rarely(st.just(_intact), CHANGES, 30))(idx(values, code, announced % 2**32))
            name = f"{part}-{kind}-ubyte"
            name = draw(
                rarely(
                    st.just(name), st.sampled_from([name.replace("-idx", ".idx"), f"{name}.gz", "", f"../{name}"]), 15
                )
            )
            if name:
                files.append(File(f"MNIST/raw/{name}".encode(), content, draw(WHATS)))
    return {"name": "mnist"}, 0.0, files


@st.composite
def cifar_folders(draw: st.DrawFn) -> tuple[Table, float, list[File]]:
    """The same in the form of CIFAR-10, as the stand-in has it."""
    files = []
    for name, content in {**stand_in.FILES, "../cifar-10-python.tar.gz": stand_in.ARCHIVE}.items():
        if draw(rarely(st.just(True), st.just(False), 3)):
            changed = draw(rarely(st.just(_intact), CHANGES, 5))(content)
            files.append(File(f"cifar-10-batches-py/{name}".encode(), changed, draw(WHATS)))
    return {"name": "cifar10"}, 0.0, files


# Of CIFAR-10 there are few: each is a process.
FOLDERS = st.sampled_from([picture_folders()] * 14 + [idx_folders()] * 5 + [cifar_folders()]).flatmap(lambda kind: kind)


@cache
def torchvision() -> Torchvision:
    """The stand-in, without a network."""
    folder = Path(tempfile.mkdtemp(prefix="lockstep-stand-in-"))
    python = stand_in.make(folder)
    return Torchvision(lambda: python, print, offline=True)


def lay_out(root: Path, files: list[File]) -> None:
    """Put files into a folder; one whose name cannot be had there is left out."""
    for file in files:
        path = Path(os.fsdecode(os.path.normpath(bytes(root) + b"/" + file.path)))
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            continue
        match file.what:
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "broken link":
                path.symlink_to("nothing")
            case "loop":
                path.symlink_to(path.name)
            case "link":
                (root.parent / "elsewhere").write_bytes(file.content)
                path.symlink_to(root.parent / "elsewhere")
            case _:
                path.write_bytes(file.content)
                path.chmod(0 if file.what == "unreadable" else 0o644)


def states(root: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of the last change and content of all that is in a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        plain = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
        content = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
        found[str(path)] = (state.st_mode, state.st_mtime_ns, content)
    return found


def try_folder(ground: Ground, case: tuple[Table, float, list[File]]) -> None:
    """Prepare what is in the folder, and look that nothing in it has changed."""
    table, validation, files = case
    ground.count.cases += 1
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        lay_out(root, files)
        spec = SPEC.validate_python({**table, "path": str(root)} if table["name"] == "picture-folder" else table)
        before = states(root)
        inside = {"LOCKSTEP_DATA": str(root), "XDG_CACHE_HOME": f"{scratch}/cache"}
        problem = ""
        with mock.patch.dict(os.environ, inside):
            try:
                problem = _wrong(prepare(spec, validation, root, torchvision()))
                ground.count.valid += 1
            except DataError as error:
                ground.count.refused += 1
                problem = "" if len(str(error)) < 3000 else f"{len(str(error))} characters"
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
        after = states(root)
        if changed := [path for path in {*before, *after} if before.get(path) != after.get(path)]:
            problem = f"changed: {changed}"
        if problem:
            ground.count.problems.append(f"{table} {[(file.path, file.what) for file in files]!r:.600}: {problem:.400}")


def _wrong(data: PreparedData) -> str:
    """What is wrong with a set that was taken; empty if nothing is."""
    features, labels = data.load("train")
    if not (np.isfinite(features).all() and features.min() >= 0 and features.max() <= 1):
        return "features beyond 0 to 1"
    if labels.min() < 0 or labels.max() >= len(data.classes):
        return "a label without a class"
    return "" if len(data.description.splitlines()) == 1 else "its description has several lines"
