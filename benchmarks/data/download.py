"""Downloads a data set that is not there: told before, into a place of its own, and moved in only where nothing is."""

import os
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.data.source import download_root
from benchmarks.data.torchvision_sets import TORCHVISION, Torchvision, ask_torchvision, torchvision_folder
from benchmarks.errors import DataError
from benchmarks.spec.data import TorchvisionData

MEGABYTES = {"mnist": 11.6, "fashion-mnist": 30.9, "cifar10": 170.5}
"""What comes over the network."""

ARCHIVE = "cifar-10-python.tar.gz"
"""Taken instead of a download where it lies in the data root."""


def announcement(spec: TorchvisionData, offline: bool) -> str:
    """Say what is not there, and what is done about it. Raises DataError if that is forbidden."""
    missing = f"{spec.name} is not in {torchvision_folder(spec)}"
    if archive := _archive(spec):
        return f"{missing}; to be unpacked to there: {archive}"
    if offline:
        raise DataError(
            f"{missing}, and --offline (or LOCKSTEP_OFFLINE) forbids to download it; copy it there, or set "
            "LOCKSTEP_DATA to a folder that has it in torchvision's layout"
        )
    size = MEGABYTES[spec.name]
    return f"{missing}; to be downloaded to there: {size} MB, from public servers that torchvision knows"


def download(spec: TorchvisionData, torchvision: Torchvision) -> None:
    """Put a data set into its folder, which is empty or not there. Raises DataError; nothing is left then.

    It comes into a hidden folder beside, so that what torchvision has verified is in its place from one moment to the
    next; and if something else is there by then, that stays.
    """
    root, folder = download_root(), torchvision_folder(spec)
    torchvision.tell(announcement(spec, torchvision.offline))
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".lockstep-download-", dir=root) as place:
            progress = partial(_tell_progress, spec, place, torchvision)
            ask_torchvision("download", spec, Path(place), torchvision, progress)
            folder.parent.mkdir(parents=True, exist_ok=True)
            os.rename(Path(place) / TORCHVISION[spec.name][1], folder)  # fails where there is more than an empty folder
    except OSError as error:
        raise DataError(f"{spec.name}: cannot put it into {folder}: {error.strerror or error}") from error
    torchvision.tell(f"{spec.name}: verified, and now in {folder}")


def _archive(spec: TorchvisionData) -> Path | None:
    archive = download_root() / ARCHIVE
    return archive if spec.name == "cifar10" and archive.is_file() else None


def _tell_progress(spec: TorchvisionData, place: str, torchvision: Torchvision) -> None:
    here = sum(file.stat().st_size for file in Path(place).rglob("*.gz"))
    torchvision.tell(f"{spec.name}: {here / 1e6:.1f} of {MEGABYTES[spec.name]} MB")
