"""One picture file, as a model gets it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from benchmarks.data.source import first_of
from benchmarks.errors import DataError

# Pictures and nothing else: Pillow hands some other formats to external programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
PIXELS_LIMIT = 64 * 2**20
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""

GROUND = "white"
"""What is transparent is laid on this, as most viewers do it."""


@dataclass(frozen=True)
class Change:
    """What was done to a picture, and what it was before: "converted to RGB" from "L"."""

    done: str
    before: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.done} from {self.before}"


@dataclass(frozen=True)
class Picture:
    """A picture as a model gets it, uint8 ``[channels, height, width]``, and what had to be changed for that."""

    pixels: NDArray[np.uint8]
    changes: tuple[Change, ...]


def read_picture(file: Path, shape: tuple[int, ...]) -> Picture:
    """Read a picture as viewers show it, with its size and colours converted to ``shape``, (channels, height, width).

    Of several frames it is the first. Raises DataError for a file that is not a picture, is damaged, is too large, or
    has more than 8 bits per channel.
    """
    if not file.is_file():  # a pipe would never end
        raise DataError(f"{file} is no file" if file.exists() else f"{file}: there is no such file")
    try:
        # Pillow warns of an EXIF that is cut, say.
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > PIXELS_LIMIT:
                raise DataError(
                    f"{file} has {image.width}x{image.height} pixels, over {PIXELS_LIMIT:,}; make it smaller"
                )
            if _is_deep(image):
                raise DataError(f"{file} has more than 8 bits per channel; convert it to 8 bits")
            return _converted(image, shape)
    except DataError:
        raise
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(FORMATS)}, or damaged"
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        reason = str(error) or type(error).__name__
    raise DataError(f"{file} cannot be read as a picture: {reason}; repair it, or take it out of the data")


def read_every(files: Sequence[Path], shape: tuple[int, ...]) -> list[Picture]:
    """Read pictures as ``read_picture`` does. Raises DataError with all that are bad."""
    pictures, bad = [], []
    for file in files:
        try:
            pictures.append(read_picture(file, shape))
        except DataError as error:
            bad.append(str(error))
    if bad:
        raise DataError(in_one_line(bad, len(files)))
    return pictures


def in_one_line(bad: Sequence[str], read: int) -> str:
    """Say how many of the pictures that were read are bad, and name the first of them."""
    count = f"{len(bad):,} of {read:,} pictures cannot be used: " if len(bad) > 1 else ""
    return count + first_of(bad)


def _is_deep(image: Image.Image) -> bool:
    """Whether channels have more than 8 bits in the file: Pillow drops the lower ones where there are colours."""
    if image.mode.startswith(("I", "F")):
        return True
    arguments = image.tile[0].args if image.tile else ()  # type: ignore[attr-defined] # of the decoder
    match image.format:
        case "PNG":
            return isinstance(arguments, str) and ";16" in arguments
        case "PPM":
            return any(isinstance(largest, int) and largest > 255 for largest in arguments or ())
        case "TIFF":
            bits: Any = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
            return bool(max(bits) > 8)
    return False


def _orientation(image: Image.Image) -> int:
    """What the EXIF says; 1 if it says nothing, or cannot be read, which viewers do not mind either."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow may raise almost anything here
        return 1
    return orientation if isinstance(orientation, int) else 1


def _converted(image: Image.Image, shape: tuple[int, ...]) -> Picture:
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    changes: list[Change] = []
    if (frames := getattr(image, "n_frames", 1)) > 1:
        changes.append(Change("cut to the first frame", f"{frames} frames"))
    if (orientation := _orientation(image)) in TURNS:
        changes.append(Change("turned", f"EXIF orientation {orientation}"))
    image.load()  # which turns a TIFF
    # ImageOps.exif_transpose writes the rest of the EXIF anew, and fails where that is odd.
    if (orientation := _orientation(image)) in TURNS:
        image = image.transpose(TURNS[orientation])
    stored = image.mode
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        if opaque.getchannel("A").getextrema() != (255, 255):
            changes.append(Change(f"laid on {GROUND}", f"transparent {stored}"))
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, GROUND), opaque)
    if stored != mode:
        changes.append(Change(f"converted to {mode}", stored))
    image = image.convert(mode)
    if image.size != (width, height):
        changes.append(Change(f"resized to {width}x{height} pixels", f"{image.width}x{image.height}"))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return Picture(np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1), tuple(changes))
