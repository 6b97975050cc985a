import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for every test, and no data root of the developer's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCKSTEP_DATA", raising=False)
    yield tmp_path / "cache" / "lockstep" / "prepared"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # pytest keeps tmp_path, and MNIST takes 200 MB
