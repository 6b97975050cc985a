"""What all tests share: the real environments of the backends, and backends that are broken on purpose."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.hosting import environments
from backends.hosting.environments import Interpreters

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process that a test starts compiles its imports anew

_COMPILED: list[tempfile.TemporaryDirectory[str]] = []


def pytest_configure() -> None:
    """Let TorchInductor compile what several tests compile once, also where they run in two processes."""
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        _COMPILED.append(tempfile.TemporaryDirectory(prefix="lockstep-compiled-", ignore_cleanup_errors=True))
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = _COMPILED[0].name


def pytest_unconfigure() -> None:
    """Remove what was compiled."""
    for folder in _COMPILED:
        folder.cleanup()


ProgramBackend = Callable[..., Path]


@pytest.fixture(scope="session")
def interpreters() -> Interpreters:
    """The interpreters of the real backends, made by uv as a user's first bench makes them."""
    return Interpreters({"reference": "current"}, print)


@pytest.fixture(scope="session")
def torchvision_python(interpreters: Interpreters) -> Path:
    """An interpreter that has torchvision."""
    return interpreters.path(environments.find("pytorch"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for tests to which data are no matter: each data set is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take data sets from there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(prepared))


@pytest.fixture
def write_backend(tmp_path: Path) -> ProgramBackend:
    """Write a backend's file: the reference with something replaced, and return its path."""

    def write(name: str, body: str = "pass", top: str = "") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(
            "# /// script\n# dependencies = ['numpy', 'safetensors']\n# ///\n"
            "import os, signal, sys, time\nfrom dataclasses import replace\n"
            "import numpy as np\nfrom backends.reference import Reference\n"
            f"{top}\n"
            "class Changed(Reference):\n"
            "    modes = {'numpy': 'changed on purpose'}\n"
            "    devices = ('cpu',)\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        )
        return path

    return write
