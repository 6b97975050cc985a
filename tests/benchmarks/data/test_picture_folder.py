"""A folder of class folders of pictures."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import picture_folder
from benchmarks.data.picture_folder import list_pictures
from benchmarks.data.pictures import read_picture
from benchmarks.data.prepare import _chosen
from benchmarks.errors import DataError
from benchmarks.spec.data import PictureFolder
from tests.benchmarks.data.helpers import hashes, prepared, save_picture

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with pictures of one colour each; `train` has three, `test` two."""
    folder = tmp_path / "pictures"
    for part, names in (("train", ["b.png", "a.bmp", "B.png"]), ("test", ["x.png", "y.gif"])):
        for name in names:
            save_picture(folder / part / "red" / name, RED)
            save_picture(folder / part / "blue" / name, BLUE)
    return folder


def table(path: Path | str, **keys: Any) -> dict[str, Any]:
    return {"name": "picture-folder", "path": str(path), "size": [4, 4], **keys}


def test_classes_are_the_sorted_folder_names_and_pixels_are_channels_first(folder: Path) -> None:
    data = prepared(table(folder))
    assert data.classes == ("blue", "red")
    assert data.input_shape == (3, 4, 4)
    features, labels = data.load("train")
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(features[:3], np.broadcast_to(np.reshape([0, 0, 1], (3, 1, 1)), (3, 3, 4, 4)))
    np.testing.assert_array_equal(features[3:], np.broadcast_to(np.reshape([1, 0, 0], (3, 1, 1)), (3, 3, 4, 4)))
    np.testing.assert_array_equal(data.load("test")[1], [0, 0, 1, 1])


def test_rows_columns_and_normalisation(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for part in ("train", "test"):
        (tmp_path / part / "only").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / part / "only" / "picture.png")
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    features, _ = prepared(table(tmp_path, size=[5, 7], mean=mean, std=std)).load("train")
    np.testing.assert_allclose(features[0], ((pixels / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)


def test_pictures_are_sorted_by_name_whatever_the_order_on_disk(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        save_picture(tmp_path / "train" / "only" / f"{number}.png", (number, 0, 0))
    save_picture(tmp_path / "test" / "only" / "1.png", RED)
    features, _ = prepared(table(tmp_path)).load("train")
    np.testing.assert_allclose(features[:, 0, 0, 0] * 255, [1, 2, 3], rtol=1e-6)


def test_pictures_of_another_size_are_resized(folder: Path) -> None:
    half = Image.new("RGB", (8, 4), WHITE)
    half.paste((0, 0, 0), (0, 0, 4, 4))
    half.save(folder / "train" / "red" / "a.bmp")
    features, _ = prepared(table(folder, size=[6, 4])).load("train")
    picture = features[-2]
    assert picture.shape == (3, 6, 4)
    assert picture[:, :, 0].max() < 0.2 < 0.8 < picture[:, :, -1].min(), "dark left half, bright right half"
    assert ((picture > 0.1) & (picture < 0.9)).any(), "bilinear: something in between"


def test_greyscale(folder: Path) -> None:
    data = prepared(table(folder, greyscale=True))
    features, _ = data.load("train")
    assert data.input_shape == (1, 4, 4)
    np.testing.assert_allclose(features[-1] * 255, 76, rtol=1e-6)  # ITU-R 601: 0.299 * 255


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("L", 200), ("1", 1), ("P", 1), ("LA", (200, 255)), ("RGBA", (200, 0, 0, 255)), ("CMYK", (0, 99, 0, 0))],
)
def test_any_8_bit_picture_becomes_three_channels(folder: Path, mode: str, colour: Any) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    save_picture(folder / "train" / "red" / name, colour, mode=mode)
    features, labels = prepared(table(folder)).load("train")
    assert features.shape == (7, 3, 4, 4)
    assert list(labels) == [0, 0, 0, 1, 1, 1, 1]


def test_without_train_and_test_a_fixed_fifth_of_each_class_is_the_test_set(tmp_path: Path) -> None:
    for number in range(10):
        save_picture(tmp_path / "pictures" / "red" / f"{number}.png", (255, number, 0))
        save_picture(tmp_path / "pictures" / "blue" / f"{number}.png", (number, 0, 255))
    data = prepared(table(tmp_path / "pictures"))
    assert data.sizes == {"train": 16, "validation": 0, "test": 4}
    assert data.classes == ("blue", "red")
    np.testing.assert_array_equal(data.load("test")[1], [0, 0, 1, 1])
    both = np.concatenate([data.load("train")[0], data.load("test")[0]])
    assert len(np.unique(both[:, :, 0, 0], axis=0)) == 20, "every picture is in exactly one of the two"


def test_hidden_files_and_files_beside_the_classes_are_left_out(folder: Path) -> None:
    expected = prepared(table(folder)).hash
    for name in (".DS_Store", "README.txt", "train/README.txt", "train/.thumbnails/x", "train/red/.hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not a picture")
    assert prepared(table(folder)).hash == expected


def test_a_link_to_a_class_elsewhere_is_followed(folder: Path, tmp_path: Path) -> None:
    expected = prepared(table(folder)).hash
    (folder / "train" / "red").rename(tmp_path / "elsewhere")
    (folder / "train" / "red").symlink_to(tmp_path / "elsewhere")
    assert prepared(table(folder)).hash == expected


def test_a_relative_path_starts_at_the_base_or_at_the_data_root(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepared(table(folder))
    assert prepared(table("pictures"), base=tmp_path).hash == expected.hash
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path))
    assert prepared(table("pictures"), base=Path("/nowhere")).hash == expected.hash


def change_content(folder: Path) -> None:
    file = folder / "train" / "red" / "a.bmp"
    before = file.stat()
    save_picture(file, WHITE)
    assert file.stat().st_size == before.st_size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))


def add_picture(folder: Path) -> None:
    save_picture(folder / "train" / "red" / "new.png", WHITE)


def remove_picture(folder: Path) -> None:
    (folder / "test" / "red" / "x.png").unlink()


@pytest.mark.parametrize("change", [change_content, add_picture, remove_picture])
def test_a_changed_folder_is_read_again(folder: Path, change: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lockstep")
    before = prepared(table(folder))
    caplog.clear()
    assert prepared(table(folder)) == before
    assert caplog.text == ""
    change(folder)
    after = prepared(table(folder))
    assert after.hash != before.hash
    assert before.features("train").exists(), "a run that is using the old state is left alone"


def test_a_folder_that_changes_while_it_is_read_is_noticed(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_change(*arguments: Any, read: Any = read_picture) -> Any:
        (folder / "train" / "red" / "b.png").touch()
        return read(*arguments)

    monkeypatch.setattr(picture_folder, "read_picture", read_and_change)
    with pytest.raises(DataError, match="changed while they were read"):
        prepared(table(folder))
    assert [entry.name for entry in cache.iterdir() if entry.is_dir()] == []


def text_among_pictures(folder: Path) -> None:
    (folder / "train" / "red" / "notes.txt").write_text("not a picture")


def folder_among_pictures(folder: Path) -> None:
    (folder / "train" / "red" / "more").mkdir()


def cut_picture(folder: Path) -> None:
    file = folder / "train" / "red" / "b.png"
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:-3000])


def deep_picture(folder: Path) -> None:
    save_picture(folder / "train" / "red" / "deep.png", 1000, mode="I;16")


def broken_link(folder: Path) -> None:
    (folder / "train" / "red" / "link.png").symlink_to("nothing")


def another_format(folder: Path) -> None:
    save_picture(folder / "train" / "red" / "drawing.pcx", RED)  # Pillow reads it, but it is not on our list


def empty_class(folder: Path) -> None:
    (folder / "train" / "green").mkdir()


def class_of_the_test_set_alone(folder: Path) -> None:
    save_picture(folder / "test" / "green" / "a.png", WHITE)


def no_test_folder(folder: Path) -> None:
    (folder / "test").rename(folder.parent / "away")


def no_test_pictures(folder: Path) -> None:
    for file in folder.glob("test/*/*"):
        file.unlink()


def unsorted_pictures(folder: Path) -> None:
    for part in ("train", "test"):
        for file in list(folder.glob(f"{part}/*/*")):
            file.rename(folder / part / f"{file.parent.name}-{file.name}")
        for name in ("red", "blue"):
            (folder / part / name).rmdir()


def two_folders_for_a_part(folder: Path) -> None:
    save_picture(folder / "Testing" / "red" / "a.png", RED)


def one_folder_deeper(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / "data").mkdir(exist_ok=True)
        (folder / part).rename(folder / "data" / part)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "train" / "red" / "pipe.png")


def name_that_is_no_text(folder: Path) -> None:
    (folder / "train" / "red").rename(folder / "train" / os.fsdecode(b"caf\xe9"))
    (folder / "test" / "red").rename(folder / "test" / os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (text_among_pictures, r"train/red/notes.txt cannot be read as a picture: it is none of BMP, .*; repair it, or"),
        (folder_among_pictures, r"there are folders within class folders: .*train/red/more; what is read is CLASS/PIC"),
        (cut_picture, r"train/red/b.png cannot be read as a picture: .*"),
        (deep_picture, r"train/red/deep.png has more than 8 bits per channel"),
        (broken_link, r"train/red/link.png: there is no such file"),
        (pipe, r"train/red/pipe.png is no file"),
        (another_format, r"train/red/drawing.pcx cannot be read as a picture"),
        (empty_class, r"these class folders have no pictures: .*train/green$"),
        (class_of_the_test_set_alone, r"train does not have the classes .*test/green$"),
        (no_test_folder, r"has train, and no test folder; what is read is CLASS/PICTURE, or train/CLASS/PICTURE and "),
        (no_test_pictures, r"test has no pictures in class folders"),
        (unsorted_pictures, r"train has no class folders; what is read is CLASS/PICTURE, or train/CLASS/PICTURE and "),
        (two_folders_for_a_part, r"has Testing, test, train: two folders for the same part; what is read"),
        (one_folder_deeper, r"there are folders within class folders: .*pictures/data/test, .*pictures/data/train; wh"),
        (name_that_is_no_text, r"the name of the class folder 'caf\\udce9' in .* is no text; rename it"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(folder: Path, spoil: Any, problem: str) -> None:
    spoil(folder)
    before = hashes(folder)
    with pytest.raises(DataError, match=problem) as caught:
        prepared(table(folder))
    assert str(caught.value).startswith("data.path: ")
    assert "\n" not in str(caught.value)
    assert hashes(folder) == before


def test_all_bad_pictures_are_in_one_answer(folder: Path) -> None:
    for spoil in (text_among_pictures, cut_picture, deep_picture, broken_link, another_format):
        spoil(folder)
    with pytest.raises(DataError) as caught:
        prepared(table(folder))
    start, *bad = str(caught.value).split(f"{folder}/train/red/")
    assert start == "data.path: 5 of 14 pictures cannot be used: "
    assert [text.split()[0].strip(":") for text in bad] == ["b.png", "deep.png", "drawing.pcx"]
    assert bad[-1].endswith(" and 2 more")


def test_bad_pictures_that_are_not_used_are_no_matter(tmp_path: Path) -> None:
    for number in range(100):
        save_picture(tmp_path / "train" / "only" / f"{number:02}.png", RED)
    save_picture(tmp_path / "test" / "only" / "0.png", RED)
    whole = list_pictures(PictureFolder(name="picture-folder", path=tmp_path, size=(4, 4)), tmp_path)
    used = set(np.sort(_chosen(100, 10, "samples")))
    whole.train.files[next(i for i in range(100) if i not in used)].write_text("not a picture")
    assert prepared(table(tmp_path, samples=10)).sizes["train"] == 10


@pytest.mark.parametrize(("train", "test"), [("training", "testing"), ("Train", "Test"), ("TRAIN", "Testing")])
def test_other_names_of_the_parts_are_read(folder: Path, train: str, test: str) -> None:
    expected = prepared(table(folder)).hash
    (folder / "train").rename(folder / train)
    (folder / "test").rename(folder / test)
    assert prepared(table(folder)).hash == expected


@pytest.mark.parametrize("name", ["valid", "val", "validation", "Val"])
def test_a_validation_folder_is_the_validation_set(folder: Path, name: str) -> None:
    before = prepared(table(folder))
    save_picture(folder / name / "blue" / "1.png", WHITE)
    data = prepared(table(folder))
    assert data.sizes == {"train": 6, "validation": 1, "test": 4}
    assert data.features("train").read_bytes() == before.features("train").read_bytes()
    features, labels = data.load("validation")
    assert (features == 1).all()
    assert labels.tolist() == [0]


def test_a_share_and_a_folder_for_validation_are_refused(folder: Path) -> None:
    save_picture(folder / "val" / "blue" / "1.png", WHITE)
    with pytest.raises(DataError, match=r"^validation: 0.1 of .*/train is asked for, and .*/val is there; leave valid"):
        prepared(table(folder), validation=0.1)


def test_a_class_of_the_validation_set_alone_is_told(folder: Path) -> None:
    save_picture(folder / "val" / "green" / "1.png", WHITE)
    with pytest.raises(DataError, match=r"/train does not have the classes .*/val/green$"):
        prepared(table(folder))


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        for number in range(5):
            save_picture(tmp_path / "vehicles" / name / f"{number}.png", RED)
    assert prepared(table(tmp_path / "vehicles")).classes == ("bus", "train")


def test_what_was_found_is_told(folder: Path) -> None:
    save_picture(folder / "val" / "blue" / "1.png", WHITE)
    save_picture(folder / "old" / "blue" / "1.png", WHITE)
    save_picture(folder / "test" / "red" / "x.png", 200, mode="L")
    save_picture(folder / "test" / "blue" / "x.png", (0, 0, 255, 255), size=(8, 4), mode="RGBA")
    data = prepared(table(folder))
    expected = (
        f"{folder}: 6 to train on, 1 to validate, 4 to test; 2 classes: blue, red; not used: {folder}/old; "
        "4 of 11 pictures converted to RGB (2 from P, 1 from RGBA, 1 from L); "
        "1 of 11 pictures resized to 4x4 pixels (1 from 8x4)"
    )
    assert data.description == expected
    assert prepared(table(folder)).description == expected, "also when it was prepared before"


def test_a_missing_folder_is_named_with_the_key(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^data.path: there is no folder {tmp_path}/typo"):
        prepared(table("typo"), base=tmp_path)


def test_a_folder_without_classes(tmp_path: Path) -> None:
    save_picture(tmp_path / "pictures" / "loose.png", RED)
    with pytest.raises(DataError, match="has no class folders"):
        prepared(table(tmp_path / "pictures"))


def test_too_few_pictures_for_a_test_set(tmp_path: Path) -> None:
    save_picture(tmp_path / "pictures" / "red" / "1.png", RED)
    with pytest.raises(DataError, match="too few pictures to set a fifth of each class aside"):
        prepared(table(tmp_path / "pictures"))


def test_a_huge_picture_is_refused_before_it_is_decoded(folder: Path) -> None:
    file = folder / "train" / "red" / "huge.png"
    save_picture(file, 0, size=(8193, 8193), mode="1")
    with pytest.raises(DataError, match=r"huge.png has 8193x8193 pixels"):
        prepared(table(folder))


def test_a_folder_too_large_for_its_size_is_refused_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_folder, "VALUES_LIMIT", 10 * 3 * 4 * 4)
    assert prepared(table(folder))
    add_picture(folder)
    with pytest.raises(DataError, match="take 528 values, more than 480"):
        prepared(table(folder))
