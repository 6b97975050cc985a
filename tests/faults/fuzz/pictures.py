"""Pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from benchmarks.data.picture_folder import list_pictures, read_pictures
from benchmarks.errors import DataError
from benchmarks.spec.data import PictureFolder
from tests.faults.fuzz.ground import Ground


def pictures() -> list[bytes]:
    """One of each format."""
    found = []
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        Image.new("RGB", (6, 5), (200, 30, 40)).save(buffer, form)
        found.append(buffer.getvalue())
    return found


def try_picture(ground: Ground, content: bytes) -> None:
    """Read a folder of pictures with this one among them."""
    file = ground.pictures / "a" / "0.png"
    file.write_bytes(content)
    spec = PictureFolder(name="picture-folder", path=ground.pictures, size=(4, 4))
    ground.count.cases += 1
    try:
        source = read_pictures(spec, list_pictures(spec, ground.folder))
        for part in (source.train, source.test):
            part.rows(np.arange(len(part.labels)))
        source.notes()
        ground.count.valid += 1
    except DataError as error:
        ground.count.refused += 1
        if "\n" in str(error):
            ground.count.problems.append(f"several lines: {error}")
    except Exception as error:
        ground.count.problems.append(f"{content[:40]!r}: {type(error).__name__}: {error}")
