"""From the data set that an experiment names to arrays on disk: what they hold, and that they survive accidents."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.data import PreparedData, Split
from benchmarks.errors import DataError
from tests.benchmarks.data.conftest import PROJECT
from tests.benchmarks.data.helpers import SPEC, prepared

IMAGES = {"name": "generated-images", "shape": [2, 6, 5], "samples": 60, "test_samples": 30}

# A process that prepares IMAGES, and says "half-way" on stdout and waits, each time that a file is complete.
SLOW = f"""
import logging, os, sys, time
from pathlib import Path
from tests.benchmarks.data.helpers import prepared

def say_and_wait(file, fsync=os.fsync):
    fsync(file)
    print("half-way", flush=True)
    time.sleep(float(sys.argv[1]))

os.fsync = say_and_wait
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
print(prepared({IMAGES!r}).hash)
"""


def start_slow(pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, str(pause)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def entries(cache: Path) -> list[str]:
    return sorted(entry.name for entry in cache.iterdir() if entry.suffix != ".lock")


def test_arrays_have_the_canonical_layout() -> None:
    data = prepared(IMAGES, validation=0.25)
    assert data.sizes == {"train": 45, "validation": 15, "test": 30}
    for split, size in data.sizes.items():
        features, labels = data.load(split)
        assert features.shape == (size, 2, 6, 5)
        assert features.dtype == np.dtype("<f4")
        assert features.flags.c_contiguous
        assert labels.shape == (size,)
        assert labels.dtype == np.dtype("<i4")
        assert isinstance(features, np.memmap)
        assert not features.flags.writeable
        assert data.features(split) == data.folder / f"{split}_features.npy"
        assert data.labels(split) == data.folder / f"{split}_labels.npy"
    assert data.input_shape == (2, 6, 5)


def test_without_a_validation_share_the_validation_set_is_empty() -> None:
    features, labels = prepared(IMAGES).load("validation")
    assert features.shape == (0, 2, 6, 5)
    assert labels.shape == (0,)


def test_a_part_of_a_set_is_a_fixed_random_choice_in_the_order_of_the_whole() -> None:
    whole = prepared({"name": "digits"})
    part = prepared({"name": "digits", "samples": 100, "test_samples": 20}, validation=0.1)
    assert part.sizes == {"train": 90, "validation": 10, "test": 20}
    rows = [sample.tobytes() for sample in whole.load("test")[0]]
    places = [rows.index(sample.tobytes()) for sample in part.load("test")[0]]
    assert places == sorted(places)
    assert places != list(range(20)), "a set may be sorted by class"


def test_more_samples_than_there_are_is_an_error_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"digits: data\.samples: 2000 are asked for, and there are 1438"):
        prepared({"name": "digits", "samples": 2000})


def test_normalisation_is_mean_and_std_of_each_channel() -> None:
    plain, _ = prepared(IMAGES).load("train")
    data = prepared({**IMAGES, "mean": [0.25, 0.5], "std": [0.5, 0.125]})
    features, _ = data.load("train")
    np.testing.assert_allclose(features[:, 0], (plain[:, 0] - 0.25) / 0.5, rtol=1e-6)
    np.testing.assert_allclose(features[:, 1], (plain[:, 1] - 0.5) / 0.125, rtol=1e-6)
    np.testing.assert_array_equal(plain, np.rint(plain * 255).astype(np.float32) / 255)


def rows(data: PreparedData, split: Split) -> list[tuple[float, ...]]:
    features, targets = data.load(split)
    return [tuple(row) for row in np.column_stack([features, targets]).tolist()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=st.integers(1, 60), share=st.floats(0, 0.99))
def test_validation_is_taken_out_of_the_training_set(samples: int, share: float) -> None:
    table = {"name": "linear-regression", "samples": samples, "test_samples": 3}
    assume(round(share * samples) < samples)
    whole = rows(prepared(table), "train")
    data = prepared(table, validation=share)
    train, validation = rows(data, "train"), rows(data, "validation")
    assert len(validation) == round(share * samples)
    assert train == [row for row in whole if row in set(train)], "the rest keeps its order"
    assert sorted(train + validation) == sorted(whole), "disjoint, and complete together"
    assert rows(data, "test") == rows(prepared(table), "test")


def test_something_is_left_to_train_on() -> None:
    with pytest.raises(DataError, match=r"a validation share of 0\.99 leaves none of 10 samples to train on"):
        prepared({"name": "linear-regression", "samples": 10}, validation=0.99)


def test_validation_is_drawn_from_all_over_the_training_set() -> None:
    table = {"name": "linear-regression", "samples": 1000}
    whole = rows(prepared(table), "train")
    places = np.array([whole.index(row) for row in rows(prepared(table, validation=0.1), "validation")])
    assert np.histogram(places, bins=4, range=(0, 1000))[0].min() > 10
    assert len(np.unique(np.diff(places))) > 5, "at random, or it may keep step with the classes"


@pytest.mark.parametrize("table", [IMAGES, {"name": "digits"}, {"name": "linear-regression"}])
def test_the_spec_foretells_the_shapes(table: dict[str, Any]) -> None:
    spec, data = SPEC.validate_python(table), prepared(table)
    assert data.input_shape == spec.sample_shape
    assert spec.outputs == (data.load("train")[1].shape[1] if spec.is_regression else len(data.classes))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_is_from_0_to_below_1(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        prepared(IMAGES, validation=share)


def test_prepared_once_and_reused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lockstep")
    first = prepared(IMAGES)
    before = first.features("train").stat()
    assert "preparing generated-images" in caplog.text
    caplog.clear()
    assert prepared(IMAGES) == first
    assert first.features("train").stat() == before
    assert caplog.text == ""


def test_the_same_data_has_the_same_hash_in_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(IMAGES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    second = prepared(IMAGES)
    assert second.folder != first.folder
    assert second.hash == first.hash


def test_the_hash_is_known() -> None:
    """Data that changes between versions of this program makes their results incomparable: raise prepare.FORMAT."""
    data = prepared({"name": "digits"})
    assert data.hash == "3a19c0bc29f35e745da33949544598c9b1156fd9ada202cdc342256bb5436002"


@pytest.mark.parametrize("change", [{"mean": [0.5, 0.5]}, {"seed": 1}, {"samples": 59}, {"shape": [2, 5, 6]}])
def test_other_data_has_another_hash(change: dict[str, Any]) -> None:
    assert prepared({**IMAGES, **change}).hash != prepared(IMAGES).hash
    assert prepared(IMAGES, validation=0.1).hash != prepared(IMAGES).hash


def flip_a_byte(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("kind", ["features", "labels"])
@pytest.mark.parametrize("offset", [20, -1], ids=["header", "content"])
def test_a_flipped_byte_is_noticed_and_the_data_built_again(
    split: Split, kind: str, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = prepared(IMAGES, validation=0.5)
    expected = data.load(split)[0].copy()
    flip_a_byte(data.folder / f"{split}_{kind}.npy", offset)
    assert prepared(IMAGES, validation=0.5) == data
    np.testing.assert_array_equal(data.load(split)[0], expected)
    assert f"damaged ({split}_{kind}.npy has changed): building it again" in caplog.text


@pytest.mark.parametrize("damage", ["", "{}", "[1", '{"classes": [], "arrays": {}, "hash": ""}'])
def test_a_damaged_description_is_noticed(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    data = prepared(IMAGES)
    (data.folder / "meta.json").write_text(damage)
    assert prepared(IMAGES) == data
    assert "damaged (meta.json" in caplog.text


def test_a_changed_class_name_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    data = prepared(IMAGES)
    meta = json.loads((data.folder / "meta.json").read_text())
    meta["classes"][3] = "cat"
    (data.folder / "meta.json").write_text(json.dumps(meta))
    assert prepared(IMAGES).classes == tuple("0123456789")
    assert "meta.json has changed" in caplog.text


@pytest.mark.parametrize("name", ["train_features.npy", "meta.json"])
def test_a_missing_file_is_noticed(name: str, caplog: pytest.LogCaptureFixture) -> None:
    data = prepared(IMAGES)
    (data.folder / name).unlink()
    assert prepared(IMAGES) == data
    assert (data.folder / name).exists()
    assert name in caplog.text


def test_two_processes_at_once_give_one_intact_result(cache: Path) -> None:
    processes = [start_slow(pause=0.3), start_slow(pause=0.3)]
    outputs = [process.communicate(timeout=120)[0].split("\n") for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    built = [any(line.startswith("preparing") for line in output) for output in outputs]
    assert sorted(built) == [False, True], "one of them prepares, the other waits and reuses"
    data = prepared(IMAGES)
    assert {output[-2] for output in outputs} == {data.hash}
    assert entries(cache) == [data.folder.name]


@pytest.mark.parametrize("files_complete", [1, 6])
def test_killed_half_way(files_complete: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start_slow(pause=0.0 if files_complete > 1 else 60)
    assert process.stdout is not None
    seen = 0
    while seen < files_complete:
        seen += process.stdout.readline() == "half-way\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    after = prepared(IMAGES)
    assert entries(cache) == [after.folder.name], "nothing is left of the dead process"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "untouched"))
    assert prepared(IMAGES).hash == after.hash


def test_a_half_written_folder_is_not_taken_for_prepared_data(cache: Path) -> None:
    process = start_slow(pause=60)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("preparing")
    assert process.stdout.readline() == "half-way\n"
    assert entries(cache) == ["generated-images.partial"]
    process.kill()
    process.communicate()


def test_an_unusable_cache_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"^cannot write prepared data in .*file/lockstep/prepared: .*XDG_CACHE_HOME"):
        prepared(IMAGES)


@pytest.fixture
def read_only(cache: Path) -> Iterator[None]:
    """Prepares IMAGES, then takes the right to write away from the cache."""
    prepared(IMAGES)
    for lock in cache.glob("*.lock"):
        lock.unlink()
    cache.chmod(0o500)
    yield
    cache.chmod(0o700)


@pytest.mark.usefixtures("read_only")
def test_a_read_only_cache_can_be_reused(cache: Path) -> None:
    assert prepared(IMAGES).folder.parent == cache
    assert list(cache.glob("*.lock")) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
@pytest.mark.usefixtures("read_only")
def test_a_read_only_cache_cannot_be_added_to() -> None:
    with pytest.raises(DataError, match=r"cannot write prepared data in .*: Permission denied"):
        prepared({**IMAGES, "seed": 5})


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(cache: Path) -> None:
    # A limit on the size of a file stands in for the full disk: the same write fails, with another number.
    program = f"""
import resource
from benchmarks.errors import DataError
from tests.benchmarks.data.helpers import prepared
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    prepared({IMAGES!r})
except DataError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert output.startswith(f"cannot write prepared data in {cache}: File too large; make it writable or make room")
    assert entries(cache) == []
