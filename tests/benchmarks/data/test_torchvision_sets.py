"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision, with a stand-in for it and with the real one."""

import os
import site
import struct
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data import PreparedData, Split, prepare
from benchmarks.errors import DataError
from tests.benchmarks.data.helpers import SPEC, nearest_mean_accuracy, no_torchvision

# Read before any test takes the variable away.
REAL_DATA = os.environ.get("LOCKSTEP_DATA")

STAND_IN = """
import os
import numpy as np
from pathlib import Path

class CIFAR10:
    def __init__(self, root, train=True, download=False):
        file = Path(root) / "cifar-10-batches-py" / "data.npy"
        if download and not file.exists():
            if "STAND_IN_OFFLINE" in os.environ:
                raise OSError("first line\\n<no route to host>")
            file.parent.mkdir(parents=True)
            np.save(file, np.arange(4 * 32 * 32 * 3, dtype=np.uint8).reshape(4, 32, 32, 3))
            (Path(root) / "downloads").open("a").write("x")
        if not file.exists():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        print("torchvision talks here")
        self.classes = ["airplane", "automobile"]
        images = np.load(file)
        self.data, self.targets = (images[:3], [0, 1, 1]) if train else (images[3:], [0])
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """An interpreter with NumPy and a torchvision of a few lines, whose CIFAR10 comes from an imaginary network."""
    venv.create(tmp_path / "environment", symlinks=True)
    packages = next((tmp_path / "environment").glob("lib/python*/site-packages"))
    (packages / "numpy.pth").write_text("\n".join(site.getsitepackages()))
    (packages / "torchvision").mkdir()
    (packages / "torchvision" / "__init__.py").touch()
    (packages / "torchvision" / "datasets.py").write_text(STAND_IN)
    return tmp_path / "environment" / "bin" / "python"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def read(table: dict[str, Any], python: Path, validation: float = 0.0) -> PreparedData:
    return prepare(SPEC.validate_python(table), validation, Path("/nowhere"), lambda: python)


def test_a_missing_set_is_downloaded_once(root: Path, stand_in: Path) -> None:
    data = read({"name": "cifar10"}, stand_in)
    assert data.classes == ("airplane", "automobile")
    features, labels = data.load("train")
    assert features.shape == (3, 3, 32, 32)
    np.testing.assert_allclose(features[0, :, 0, 0] * 255, [0, 1, 2], rtol=1e-6)  # channels came last
    np.testing.assert_array_equal(labels, [0, 1, 1])
    assert prepare(SPEC.validate_python({"name": "cifar10"}), 0.0, root, no_torchvision) == data, "reused"
    read({"name": "cifar10", "mean": [0.5, 0.5, 0.5]}, stand_in)
    assert (root / "downloads").read_text() == "x"


def test_without_a_data_root_downloads_go_to_the_users_cache(tmp_path: Path, stand_in: Path) -> None:
    read({"name": "cifar10"}, stand_in)
    assert (tmp_path / "cache" / "lockstep" / "data" / "cifar-10-batches-py" / "data.npy").exists()


def test_an_existing_copy_needs_no_network(root: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read({"name": "cifar10"}, stand_in)
    monkeypatch.setenv("STAND_IN_OFFLINE", "1")
    assert read({"name": "cifar10"}, stand_in, validation=0.34).sizes["validation"] == 1
    assert read({"name": "cifar10"}, stand_in) == expected


def test_a_changed_copy_is_read_again(root: Path, stand_in: Path) -> None:
    before = read({"name": "cifar10"}, stand_in)
    np.save(root / "cifar-10-batches-py" / "data.npy", np.ones((4, 32, 32, 3), dtype=np.uint8))
    assert read({"name": "cifar10"}, stand_in).hash != before.hash


def test_a_failed_download_says_how_to_put_the_data_there(
    root: Path, stand_in: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_OFFLINE", "1")
    with pytest.raises(DataError) as caught:
        read({"name": "cifar10"}, stand_in)
    assert str(caught.value) == (
        f"cifar10 is not in {root} and could not be downloaded: <no route to host>; "
        f"copy it to {root}/cifar-10-batches-py, or set LOCKSTEP_DATA to a folder that has it in torchvision's layout"
    )
    assert [entry.name for entry in cache.iterdir() if entry.is_dir()] == []


def test_a_damaged_copy_is_told(root: Path, stand_in: Path) -> None:
    read({"name": "cifar10"}, stand_in)
    (root / "cifar-10-batches-py" / "data.npy").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"cifar10 in .*cifar-10-batches-py cannot be read: .*; remove that folder"):
        read({"name": "cifar10"}, stand_in)


def test_labels_that_do_not_fit_the_images_are_damage(root: Path, stand_in: Path) -> None:
    read({"name": "cifar10"}, stand_in)
    np.save(root / "cifar-10-batches-py" / "data.npy", np.ones((9, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="damaged: its labels do not fit its images"):
        read({"name": "cifar10"}, stand_in)


def test_an_environment_without_torchvision(root: Path) -> None:
    with pytest.raises(DataError, match=r"mnist needs torchvision, which .* cannot import: No module named"):
        read({"name": "mnist"}, Path(sys.executable))


def test_an_interpreter_that_does_not_start(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mnist needs torchvision, but .*/python does not start: No such file"):
        read({"name": "mnist"}, tmp_path / "python")


def test_a_reader_that_dies_is_told_with_its_last_words(root: Path, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho one >&2\necho out of memory >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(DataError, match=r"mnist could not be read with torchvision from .*root: out of memory$"):
        read({"name": "mnist"}, tmp_path / "python")


def write_idx(file: Path, array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_real_torchvision_reads_its_layout(name: str, folder: str, root: Path, torchvision_python: Path) -> None:
    random = np.random.default_rng(0)
    images = {
        part: random.integers(0, 256, (size, 28, 28), dtype=np.uint8) for part, size in (("train", 7), ("t10k", 3))
    }
    for part, pixels in images.items():
        write_idx(root / folder / "raw" / f"{part}-images-idx3-ubyte", pixels)
        write_idx(root / folder / "raw" / f"{part}-labels-idx1-ubyte", np.arange(len(pixels), dtype=np.uint8))
    data = read({"name": name}, torchvision_python)
    assert len(data.classes) == 10
    parts: list[tuple[Split, str]] = [("train", "train"), ("test", "t10k")]
    for split, part in parts:
        features, labels = data.load(split)
        np.testing.assert_array_equal(features, images[part][:, np.newaxis].astype(np.float32) / 255)
        np.testing.assert_array_equal(labels, np.arange(len(images[part])))


def test_the_real_torchvision_does_not_read_a_cut_file(root: Path, torchvision_python: Path) -> None:
    for part in ("train", "t10k"):
        write_idx(root / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", np.zeros((5, 28, 28), dtype=np.uint8))
        write_idx(root / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.zeros(5, dtype=np.uint8))
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"mnist in .*MNIST/raw cannot be read: .*; remove that folder"):
        read({"name": "mnist"}, torchvision_python)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_real_torchvision_offline(
    name: str, root: Path, torchvision_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(DataError, match=f"^{name} is not in .*root and could not be downloaded: .*; copy it to"):
        read({"name": name}, torchvision_python)


# Test images per class, as published.
COUNTS = {"mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], "fashion-mnist": [1000] * 10}


@pytest.mark.parametrize(
    ("name", "folder", "floor"), [("mnist", "MNIST", 0.8), ("fashion-mnist", "FashionMNIST", 0.65)]
)
def test_the_real_data(
    name: str, folder: str, floor: float, torchvision_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if REAL_DATA is None or not (Path(REAL_DATA) / folder / "raw").is_dir():
        pytest.skip(f"set LOCKSTEP_DATA to a folder that has {folder}/raw")
    monkeypatch.setenv("LOCKSTEP_DATA", REAL_DATA)
    data = read({"name": name}, torchvision_python)
    assert data.sizes == {"train": 60_000, "validation": 0, "test": 10_000}
    assert data.input_shape == SPEC.validate_python({"name": name}).sample_shape == (1, 28, 28)
    assert np.bincount(data.load("test")[1]).tolist() == COUNTS[name]
    assert nearest_mean_accuracy(data) > floor
