"""The files of MNIST and Fashion-MNIST: those that are good are read, of all others it is told what is wrong."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import Split
from benchmarks.errors import DataError
from tests.benchmarks.data.helpers import hashes, nearest_mean_accuracy, prepared, write_idx, write_mnist

# Read before any test takes the variable away.
REAL_DATA = os.environ.get("LOCKSTEP_DATA")

IMAGES, LABELS, TEST_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def folder(root: Path) -> Path:
    """A small MNIST of noise."""
    write_mnist(root / "MNIST" / "raw")
    return root / "MNIST" / "raw"


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_files_in_torchvisions_layout_are_read_without_it(name: str, folder: str, root: Path) -> None:
    pixels = write_mnist(root / folder / "raw")
    data = prepared({"name": name})
    assert len(data.classes) == 10
    assert data.place == str(root / folder / "raw")
    parts: list[tuple[Split, str]] = [("train", "train"), ("test", "t10k")]
    for split, part in parts:
        features, labels = data.load(split)
        np.testing.assert_array_equal(features, pixels[part][:, np.newaxis].astype(np.float32) / 255)
        np.testing.assert_array_equal(labels, np.arange(len(labels)))


def test_changed_files_are_read_again(folder: Path) -> None:
    before = prepared({"name": "mnist"})
    write_mnist(folder, train=8)
    assert prepared({"name": "mnist"}).hash != before.hash


def one_missing(folder: Path) -> None:
    (folder / LABELS).unlink()


def compressed_beside(folder: Path) -> None:
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress((folder / IMAGES).read_bytes()))
    (folder / IMAGES).unlink()


def names_with_a_dot(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.replace("-idx", ".idx"))


def something_else_alone(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.unlink()
    (folder / "notes.txt").touch()


def beside_the_folder(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.rename(folder.parent / file.name)


def compressed_under_the_plain_name(folder: Path) -> None:
    (folder / IMAGES).write_bytes(gzip.compress((folder / IMAGES).read_bytes()))


def floats(folder: Path) -> None:
    write_idx(folder / IMAGES, np.zeros((7, 28, 28), np.float32), 0x0D)


def short_integers(folder: Path) -> None:
    write_idx(folder / IMAGES, np.zeros((7, 28, 28), np.int16), 0x0B)


def one_image_less_than_announced(folder: Path) -> None:
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:-784])


def bytes_too_many(folder: Path) -> None:
    (folder / LABELS).write_bytes((folder / LABELS).read_bytes() + b"\0\0")


def cut_header(folder: Path) -> None:
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:9])


def text(folder: Path) -> None:
    (folder / LABELS).write_text("label\n1\n2\n3\n")


def small_images(folder: Path) -> None:
    write_idx(folder / IMAGES, np.zeros((7, 20, 20), np.uint8))


def colours(folder: Path) -> None:
    write_idx(folder / IMAGES, np.zeros((7, 28, 28, 3), np.uint8))


def fewer_labels(folder: Path) -> None:
    write_idx(folder / LABELS, np.zeros(6, np.uint8))


def label_too_large(folder: Path) -> None:
    write_idx(folder / TEST_LABELS, np.array([0, 12, 1], np.uint8))


def no_samples(folder: Path) -> None:
    write_idx(folder / TEST_LABELS, np.zeros(0, np.uint8))


def folder_under_the_name(folder: Path) -> None:
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()


def pipe_under_the_name(folder: Path) -> None:
    (folder / LABELS).unlink()
    os.mkfifo(folder / LABELS)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (one_missing, r"MNIST/raw lacks train-labels-idx1-ubyte$"),
        (
            compressed_beside,
            r"lacks train-images-idx3-ubyte \(train-images-idx3-ubyte.gz is there: unpack it .*gunzip\)",
        ),
        (
            names_with_a_dot,
            r"lacks train-images-idx3-ubyte \(train-images.idx3-ubyte is there: rename it if .*, train-l",
        ),
        (something_else_alone, r"MNIST/raw lacks train-images-idx3-ubyte, .*, t10k-labels-idx1-ubyte$"),
        (
            beside_the_folder,
            r"lacks .*; beside it are t10k-images-idx3-ubyte, .* and 1 more: they belong into that folder",
        ),
        (compressed_under_the_plain_name, r"train-images-idx3-ubyte is compressed with gzip; unpack it"),
        (floats, r"train-images-idx3-ubyte holds float32; uint8 is needed"),
        (short_integers, r"train-images-idx3-ubyte holds int16; uint8 is needed"),
        (one_image_less_than_announced, r"train-images-idx3-ubyte announces 7 samples, but has the bytes of 6$"),
        (bytes_too_many, r"train-labels-idx1-ubyte announces 7 samples, but has the bytes of 9$"),
        (cut_header, r"train-images-idx3-ubyte is cut: it ends within its header"),
        (text, r"train-labels-idx1-ubyte is no IDX file: it begins with 6c 61 62 65, not with 00 00 08 01"),
        (small_images, r"train-images-idx3-ubyte holds images of 20x20 pixels; 28x28 are needed \(picture-folder"),
        (colours, r"train-images-idx3-ubyte has 4 dimensions; 3 are needed"),
        (fewer_labels, r"train-labels-idx1-ubyte has 6 labels for the 7 images of .*/train-images-idx3-ubyte"),
        (label_too_large, r"t10k-labels-idx1-ubyte holds the label 12; 0 to 9 are needed"),
        (no_samples, r"t10k-labels-idx1-ubyte announces 0 samples"),
        (folder_under_the_name, r"train-images-idx3-ubyte is no file"),
        (pipe_under_the_name, r"train-labels-idx1-ubyte is no file"),
    ],
)
def test_a_set_of_ones_own_that_is_not_right_is_told_and_left_alone(
    folder: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    """Nothing is downloaded in its place: the tests here have no torchvision."""
    spoil(folder)
    before = hashes(folder.parent)
    with pytest.raises(DataError, match=rf"^mnist: .*{problem}") as caught:
        prepared({"name": "mnist"})
    assert "remove" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hashes(folder.parent) == before


def test_all_that_is_wrong_is_in_one_answer(folder: Path) -> None:
    floats(folder)
    text(folder)
    with pytest.raises(DataError, match=r"images-idx3-ubyte holds float32.*; .*labels-idx1-ubyte is no IDX file"):
        prepared({"name": "mnist"})


def test_a_file_in_the_place_of_the_folder_is_told(root: Path) -> None:
    (root / "MNIST").mkdir()
    (root / "MNIST" / "raw").write_text("something")
    with pytest.raises(DataError, match=r"^mnist: cannot read .*MNIST/raw: Not a directory$"):
        prepared({"name": "mnist"})


# Test images per class, as published.
COUNTS = {"mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], "fashion-mnist": [1000] * 10}


@pytest.mark.parametrize(
    ("name", "folder", "floor"), [("mnist", "MNIST", 0.8), ("fashion-mnist", "FashionMNIST", 0.65)]
)
def test_the_real_data(name: str, folder: str, floor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if REAL_DATA is None or not (Path(REAL_DATA) / folder / "raw").is_dir():
        pytest.skip(f"set LOCKSTEP_DATA to a folder that has {folder}/raw")
    monkeypatch.setenv("LOCKSTEP_DATA", REAL_DATA)
    data = prepared({"name": name})
    assert data.sizes == {"train": 60_000, "validation": 0, "test": 10_000}
    assert data.input_shape == (1, 28, 28)
    assert np.bincount(data.load("test")[1]).tolist() == COUNTS[name]
    assert nearest_mean_accuracy(data) > floor
