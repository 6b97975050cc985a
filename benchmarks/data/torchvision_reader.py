"""Reads or downloads one of torchvision's data sets: a script for an environment that has it, not to be imported.

Arguments: `read` or `download`, the name of the class in `torchvision.datasets`, the data root, and an empty folder.
`read` writes `{train,test}_images.npy` (uint8 [n, channels, height, width]) and `{train,test}_labels.npy` (int32 [n])
there; `download` makes it the root of a copy that torchvision has verified, from the archive in the data root if one is
there, and writes nothing elsewhere. Last comes `answer.json`, with `classes`, or a `problem` ("torchvision",
"download" or "files") and its `detail`; or with neither.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

STALL_SECONDS = 60


def answer(task: str, name: str, root: Path, out: Path) -> dict[str, Any]:
    """Do what is asked and return the answer."""
    try:
        from torchvision import datasets
        from torchvision.datasets.utils import check_integrity
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: a torchvision that torch does not match
        return problem("torchvision", error)
    kind = getattr(datasets, name)
    if task == "read":
        expected = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
        others = [file for file, md5 in expected if not check_integrity(root / kind.base_folder / file, md5)]
        return {"problem": "files", "detail": ", ".join(others)} if others else read(kind, root, out)
    archive = root / getattr(kind, "filename", "")
    if archive.is_file():
        if not check_integrity(archive, kind.tgz_md5):
            return {"problem": "files", "detail": archive.name}
        (out / archive.name).symlink_to(archive)  # torchvision takes what is there if its checksum is right
    try:
        kind(out, download=True)
    except Exception as error:
        return problem("download", error)
    return {}


def read(kind: Any, root: Path, out: Path) -> dict[str, Any]:
    """Write images and labels of both parts, and return the names of the classes."""
    for part in ("train", "test"):
        data = kind(root, train=part == "train")
        images = np.asarray(data.data).transpose(0, 3, 1, 2)
        np.save(out / f"{part}_images.npy", np.ascontiguousarray(images, dtype=np.uint8))
        np.save(out / f"{part}_labels.npy", np.asarray(data.targets, dtype=np.int32))
    return {"classes": list(data.classes)}


def problem(kind: str, error: Exception) -> dict[str, Any]:
    """Return the answer for a failure, with the last line of its message: the one that says most."""
    lines = str(error).strip().splitlines()
    return {"problem": kind, "detail": lines[-1] if lines else type(error).__name__}


if __name__ == "__main__":
    socket.setdefaulttimeout(STALL_SECONDS)  # torchvision sets none, and a silent server would hold us for ever
    task, name, *folders = sys.argv[1:]
    root, out = map(Path, folders)
    (out / "answer.json").write_text(json.dumps(answer(task, name, root, out)), encoding="utf-8")
