"""One picture: as viewers show it, with all that was changed told."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.data.pictures import read_every, read_picture
from benchmarks.errors import DataError

RGB, GREY = (3, 8, 8), (1, 8, 8)


def told(file: Path, shape: tuple[int, ...] = RGB) -> list[str]:
    return [str(change) for change in read_picture(file, shape).changes]


def arrow(size: tuple[int, int] = (8, 8)) -> Image.Image:
    """Black on white, and another picture however it is turned."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).line([(1, 6), (1, 1), (5, 1)])
    return image


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # the opposite of what a viewer does
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", list(TURNS))
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_a_picture_that_is_stored_turned_is_turned_as_viewers_turn_it(
    tmp_path: Path, orientation: int, ending: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
    arrow().transpose(TURNS[orientation]).save(tmp_path / f"turned.{ending}", exif=exif, **options)
    picture = read_picture(tmp_path / f"turned.{ending}", GREY)
    np.testing.assert_array_equal(picture.pixels[0], np.asarray(arrow()))
    assert f"turned from EXIF orientation {orientation}" in map(str, picture.changes)


@pytest.mark.parametrize(("orientation", "dark"), [(1, 0), (3, -1), (6, 0), (9, 0), (0, 0)])
def test_a_jpeg_is_turned_too(tmp_path: Path, orientation: int, dark: int) -> None:
    image = Image.new("L", (64, 64), 255)
    image.paste(0, (0, 0, 64, 32))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "photo.jpg", exif=exif)
    pixels = read_picture(tmp_path / "photo.jpg", (1, 64, 64)).pixels[0]
    if orientation == 6:
        assert (pixels[:, -10:] < 20).all()
    else:
        assert (pixels[dark] < 20).all()
    assert bool(told(tmp_path / "photo.jpg", (1, 64, 64))) == (orientation in (3, 6))


def test_the_size_is_that_of_the_turned_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (16, 8)).save(tmp_path / "lying.png", exif=exif)
    assert told(tmp_path / "lying.png", (1, 16, 8)) == ["turned from EXIF orientation 6"]


def test_what_else_an_exif_holds_is_no_matter(tmp_path: Path) -> None:
    entries = [(0x0112, 3, 1, 3), (0x010F, 5, 1, 200), (0x0132, 11, 1, 7)]  # a maker that is a number, a date too
    content = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + content + b"\0\0\0\0"
    arrow().transpose(Image.Transpose.ROTATE_180).save(tmp_path / "odd.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "odd.png", GREY).pixels[0], np.asarray(arrow()))


@pytest.mark.parametrize("exif", [b"nonsense", b"Exif\0\0II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"])
def test_an_exif_that_cannot_be_read_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    arrow().save(tmp_path / "odd.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "odd.png", GREY).pixels[0], np.asarray(arrow()))


def as_grey(ink: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(255 - ink)


def as_palette(ink: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray((ink > 0).astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


def as_transparent_palette(ink: NDArray[np.uint8]) -> Image.Image:
    image = as_palette(ink)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.info["transparency"] = 0
    return image


def as_transparent_colours(ink: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.stack([*[np.zeros_like(ink)] * 3, ink], axis=-1))


def as_transparent_grey(ink: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.stack([np.zeros_like(ink), ink], axis=-1), "LA")


def as_a_transparent_value(ink: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.where(ink > 0, 0, 77).astype(np.uint8))
    image.info["transparency"] = 77
    return image


@pytest.mark.parametrize(
    ("stored", "changes"),
    [
        (as_grey, ["converted to RGB from L"]),
        (as_palette, ["converted to RGB from P"]),
        (as_transparent_palette, ["laid on white from transparent P", "converted to RGB from P"]),
        (as_transparent_colours, ["laid on white from transparent RGBA", "converted to RGB from RGBA"]),
        (as_transparent_grey, ["laid on white from transparent LA", "converted to RGB from LA"]),
        (as_a_transparent_value, ["laid on white from transparent L", "converted to RGB from L"]),
    ],
)
def test_a_black_digit_is_black_on_white_however_it_is_stored(
    tmp_path: Path, stored: Callable[[NDArray[np.uint8]], Image.Image], changes: list[str]
) -> None:
    ink = 255 - np.asarray(arrow())
    image = stored(ink)
    image.save(
        tmp_path / "digit.png", **({"transparency": t} if (t := image.info.get("transparency")) is not None else {})
    )
    picture = read_picture(tmp_path / "digit.png", RGB)
    for channel in picture.pixels:
        np.testing.assert_array_equal(channel, np.asarray(arrow()))
    assert list(map(str, picture.changes)) == changes


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "shadow.png")
    assert set(read_picture(tmp_path / "shadow.png", GREY).pixels.ravel()) == {127}


def test_an_opaque_alpha_channel_is_only_dropped(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert told(tmp_path / "opaque.png") == ["converted to RGB from RGBA"]
    assert read_picture(tmp_path / "opaque.png", RGB).pixels[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_taken_and_that_is_told(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"moving.{ending}", save_all=True, append_images=frames[1:], **options)
    picture = read_picture(tmp_path / f"moving.{ending}", RGB)
    assert picture.pixels[:, 4, 4].tolist() == [255, 0, 0]
    assert "cut to the first frame from 3 frames" in map(str, picture.changes)


def deep_png(file: Path) -> Path:
    """16 bits for each of red, green and blue; Pillow cannot write it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + bytes(8 * 6) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return file


def deep_ppm(file: Path) -> Path:
    file.write_bytes(b"P6 8 8 65535\n" + bytes(8 * 8 * 6))
    return file


def deep_grey_ppm(file: Path) -> Path:
    file.write_bytes(b"P5 8 8 1023\n" + bytes(8 * 8 * 2))
    return file


def deep_grey_png(file: Path) -> Path:
    Image.new("I;16", (8, 8)).save(file, "PNG")
    return file


def deep_tiff(file: Path) -> Path:
    """A grey one is written, and its tags are changed to three channels."""
    bits = b"\x10\0" * 3
    tags = [
        *((256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, 300), (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, 8 * 8 * 6)),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    content = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    file.write_bytes(content.ljust(200, b"\0") + bits.ljust(100, b"\0") + bytes(8 * 8 * 6))
    return file


@pytest.mark.parametrize("write", [deep_png, deep_ppm, deep_grey_ppm, deep_grey_png, deep_tiff])
def test_more_than_8_bits_per_channel_are_refused(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    file = write(tmp_path / "deep")
    with Image.open(file) as image:
        image.load()  # Pillow reads it
    with pytest.raises(DataError, match=r"deep has more than 8 bits per channel; convert it to 8 bits$"):
        read_picture(file, RGB)


def test_an_8_bit_ppm_is_not_deep(tmp_path: Path) -> None:
    (tmp_path / "small.ppm").write_bytes(b"P6 8 8 100\n" + bytes(8 * 8 * 3))
    assert told(tmp_path / "small.ppm") == []


def test_all_bad_pictures_of_a_command_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"^2 of 2 pictures cannot be used: .*text.png cannot be .*, .*none.png: there"):
        read_every([tmp_path / "text.png", tmp_path / "none.png"], RGB)
