"""An interpreter with NumPy and a torchvision of a few lines, whose CIFAR10 comes from an imaginary network."""

from __future__ import annotations

import site
import venv
from pathlib import Path

FILES = {"data_batch_1": b"train", "test_batch": b"test", "batches.meta": b"names"}
"""What it takes for published."""

ARCHIVE = b"what torchvision unpacks"

DATASETS = f"""
import os, time
from pathlib import Path
import numpy as np
from torchvision.datasets.utils import md5

FILES = {FILES!r}

class CIFAR10:
    base_folder = "cifar-10-batches-py"
    filename, tgz_md5 = "cifar-10-python.tar.gz", md5({ARCHIVE!r})
    train_list, test_list = ([[name, md5(FILES[name])]] for name in ("data_batch_1", "test_batch"))
    meta = {{"filename": "batches.meta", "md5": md5(FILES["batches.meta"])}}

    def __init__(self, root, train=True, download=False):
        folder = Path(root) / self.base_folder
        if download:
            archive = Path(root) / self.filename
            if not archive.exists():
                if "STAND_IN_OFFLINE" in os.environ:
                    raise OSError("first line\\n<no route to host>")
                archive.write_bytes({ARCHIVE!r} * 100_000)
                time.sleep(float(os.environ.get("STAND_IN_SECONDS", 0)))
            folder.mkdir()
            for name, content in FILES.items():
                (folder / name).write_bytes(content)
        print("torchvision talks here")
        self.classes = ["airplane", "automobile"]
        images = np.arange(4 * 32 * 32 * 3, dtype=np.uint8).reshape(4, 32, 32, 3)
        self.data, self.targets = (images[:3], [0, 1, 1]) if train else (images[3:], [0])
"""

UTILS = """
import hashlib

def md5(content):
    return hashlib.md5(content).hexdigest()

def check_integrity(file, expected):
    return file.is_file() and md5(file.read_bytes()) == expected
"""


def make(folder: Path) -> Path:
    """Make the environment and return its interpreter."""
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "numpy.pth").write_text("\n".join(site.getsitepackages()))
    (packages / "torchvision" / "datasets").mkdir(parents=True)
    (packages / "torchvision" / "__init__.py").touch()
    (packages / "torchvision" / "datasets" / "__init__.py").write_text(DATASETS)
    (packages / "torchvision" / "datasets" / "utils.py").write_text(UTILS)
    return folder / "bin" / "python"
