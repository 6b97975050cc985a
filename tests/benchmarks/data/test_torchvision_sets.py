"""CIFAR-10, which torchvision reads, and downloads: with a stand-in for torchvision, and with the real one."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data import PreparedData, Torchvision, torchvision_sets
from benchmarks.errors import DataError
from tests.benchmarks.data.helpers import NO_TORCHVISION, hashes, prepared, write_mnist
from tests.benchmarks.data.stand_in import ARCHIVE, FILES, make

CIFAR10 = {"name": "cifar10"}


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    return make(tmp_path / "environment")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def network(stand_in: Path, told: list[str]) -> Torchvision:
    return Torchvision(lambda: stand_in, told.append)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def read(python: Path, table: dict[str, Any] = CIFAR10) -> PreparedData:
    return prepared(table, torchvision=Torchvision(lambda: python, print))


def write_files(folder: Path, **others: bytes) -> None:
    folder.mkdir(parents=True)
    for name, content in {**FILES, **others}.items():
        (folder / name).write_bytes(content)


def test_a_missing_set_is_downloaded_once(root: Path, network: Torchvision, told: list[str]) -> None:
    data = prepared(CIFAR10, torchvision=network)
    assert data.classes == ("airplane", "automobile")
    assert data.place == str(root / "cifar-10-batches-py")
    features, labels = data.load("train")
    assert features.shape == (3, 3, 32, 32)
    np.testing.assert_allclose(features[0, :, 0, 0] * 255, [0, 1, 2], rtol=1e-6)  # channels came last
    np.testing.assert_array_equal(labels, [0, 1, 1])
    assert prepared(CIFAR10, torchvision=NO_TORCHVISION) == data, "reused"
    before = len(told)
    prepared({**CIFAR10, "mean": [0.5, 0.5, 0.5]}, torchvision=replace(network, offline=True))
    assert len(told) == before


def test_a_download_is_told_before_it_begins_and_while_it_runs(
    root: Path, network: Torchvision, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "PATIENCE", 0.1)
    monkeypatch.setenv("STAND_IN_SECONDS", "1")
    prepared(CIFAR10, torchvision=network)
    folder = root / "cifar-10-batches-py"
    assert told[0] == (
        f"cifar10 is not in {folder}; to be downloaded to there: 170.5 MB, from public servers that torchvision knows"
    )
    assert told[-1] == f"cifar10: verified, and now in {folder}"
    assert "cifar10: 2.4 of 170.5 MB" in told[1:-1]
    assert hashes(root) == {"cifar-10-batches-py": "", **content(folder)}, "nothing else is left"


def content(folder: Path) -> dict[str, str]:
    return {f"{folder.name}/{name}": hashlib.sha256(text).hexdigest() for name, text in FILES.items()}


def test_what_is_there_by_the_end_of_a_download_stays(
    root: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "cifar-10-batches-py"

    def copied_meanwhile(text: str) -> None:
        if "to be downloaded" in text:
            write_files(folder, data_batch_1=b"of the user")

    before = {**content(folder), "cifar-10-batches-py": ""}
    before["cifar-10-batches-py/data_batch_1"] = hashlib.sha256(b"of the user").hexdigest()
    with pytest.raises(DataError, match=r"^cifar10: cannot put it into .*: Directory not empty$"):
        prepared(CIFAR10, torchvision=Torchvision(lambda: stand_in, copied_meanwhile))
    assert hashes(root) == before


def test_offline_nothing_is_downloaded(root: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(CIFAR10, torchvision=replace(NO_TORCHVISION, offline=True))
    assert str(caught.value) == (
        f"cifar10 is not in {root}/cifar-10-batches-py, and --offline (or LOCKSTEP_OFFLINE) forbids to download it; "
        "copy it there, or set LOCKSTEP_DATA to a folder that has it in torchvision's layout"
    )
    assert hashes(root) == {}


def test_an_archive_that_is_there_is_unpacked_instead(root: Path, network: Torchvision, told: list[str]) -> None:
    (root / "cifar-10-python.tar.gz").write_bytes(ARCHIVE)
    prepared(CIFAR10, torchvision=replace(network, offline=True))
    assert told[0].endswith(f"; to be unpacked to there: {root}/cifar-10-python.tar.gz")
    assert (root / "cifar-10-python.tar.gz").read_bytes() == ARCHIVE


def test_an_archive_that_is_another_one_is_told_and_left_alone(root: Path, network: Torchvision) -> None:
    (root / "cifar-10-python.tar.gz").write_bytes(b"of the user")
    before = hashes(root)
    with pytest.raises(DataError, match=r"not the published one: cifar-10-python.tar.gz missing or different"):
        prepared(CIFAR10, torchvision=network)
    assert hashes(root) == before


def test_without_a_data_root_downloads_go_to_the_users_cache(tmp_path: Path, network: Torchvision) -> None:
    prepared(CIFAR10, torchvision=network)
    assert (tmp_path / "cache" / "lockstep" / "data" / "cifar-10-batches-py" / "test_batch").exists()


def test_batches_of_ones_own_are_told_and_left_alone(root: Path, network: Torchvision, told: list[str]) -> None:
    write_files(root / "cifar-10-batches-py", data_batch_1=b"of the user", test_batch=b"too")
    before = hashes(root)
    with pytest.raises(DataError) as caught:
        prepared(CIFAR10, torchvision=network)
    assert str(caught.value) == (
        f"cifar10 in {root} is not the published one: data_batch_1, test_batch missing or different; nothing was "
        'changed there; for pictures of your own, take data.name = "picture-folder"'
    )
    assert hashes(root) == before
    assert told == [], "no download"


def test_a_missing_batch_is_told_and_not_downloaded(root: Path, network: Torchvision, told: list[str]) -> None:
    write_files(root / "cifar-10-batches-py")
    (root / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DataError, match="not the published one: test_batch missing"):
        prepared(CIFAR10, torchvision=network)
    assert told == []


def test_a_failed_download_says_how_to_put_the_data_there(
    root: Path, network: Torchvision, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_OFFLINE", "1")
    with pytest.raises(DataError) as caught:
        prepared(CIFAR10, torchvision=network)
    assert str(caught.value) == (
        f"cifar10 is not in {root} and could not be downloaded: <no route to host>; "
        f"copy it to {root}/cifar-10-batches-py, or set LOCKSTEP_DATA to a folder that has it in torchvision's layout"
    )
    assert [entry.name for entry in cache.iterdir() if entry.is_dir()] == []
    assert hashes(root) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_folder_that_is_not_ones_own_to_write_is_told(root: Path, network: Torchvision) -> None:
    root.chmod(0o500)
    with pytest.raises(DataError, match=r"^cifar10: cannot put it into .*: Permission denied"):
        prepared(CIFAR10, torchvision=network)
    root.chmod(0o700)


def test_an_environment_without_torchvision(root: Path) -> None:
    with pytest.raises(DataError, match=r"mnist needs torchvision, which .* cannot import: No module named"):
        read(Path(sys.executable), {"name": "mnist"})
    assert hashes(root) == {}


def test_an_interpreter_that_does_not_start(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar10 needs torchvision, but .*/python does not start: No such file"):
        read(tmp_path / "python")


def test_a_reader_that_dies_is_told_with_its_last_words(root: Path, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho one >&2\necho out of memory >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(DataError, match=r"^cifar10: torchvision could not download it: out of memory$"):
        read(tmp_path / "python")


# The real torchvision takes seconds to import, and it is its code that asks, compares, unpacks and reads.

PUBLISHED_HERE = """#!{python}
import runpy, sys
from torchvision import datasets
datasets.MNIST.mirrors = ["http://127.0.0.1:{port}/"]
datasets.MNIST.resources = {resources!r}
sys.argv = sys.argv[2:]  # what is called with -I
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_the_real_torchvision_downloads_and_verifies(root: Path, torchvision_python: Path, tmp_path: Path) -> None:
    pixels = write_mnist(tmp_path / "published")
    resources = []
    for file in sorted((tmp_path / "published").iterdir()):
        archive = file.with_name(f"{file.name}.gz")
        archive.write_bytes(gzip.compress(file.read_bytes()))
        resources.append((archive.name, hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()))
    handler = partial(_QuietHandler, directory=tmp_path / "published")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        program = PUBLISHED_HERE.format(python=torchvision_python, port=server.server_port, resources=resources)
        (tmp_path / "python").write_text(program)
        (tmp_path / "python").chmod(0o700)
        data = read(tmp_path / "python", {"name": "mnist"})
        server.shutdown()
    np.testing.assert_array_equal(data.load("train")[0], pixels["train"][:, np.newaxis].astype(np.float32) / 255)
    assert [path.name for path in root.iterdir()] == ["MNIST"]


def test_the_real_torchvision_without_network(
    root: Path, torchvision_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(DataError, match=r"^cifar10 is not in .*root and could not be downloaded: .*; copy it to"):
        read(torchvision_python)
    assert hashes(root) == {}


def test_the_real_torchvision_does_not_take_other_batches_than_the_published(
    root: Path, torchvision_python: Path
) -> None:
    write_files(root / "cifar-10-batches-py")
    with pytest.raises(
        DataError, match=r"published one: data_batch_1, .*, data_batch_5, test_batch, batches.meta miss"
    ):
        read(torchvision_python)
