"""Which backends there are, and the environment of each, made by uv from the PEP 723 header of its file."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path
from uv import find_uv_bin

from backends.hosting import sources

FOLDER = Path(__file__).parents[1]
IN_CLONE = (FOLDER.parent / "pyproject.toml").is_file()
"""Whether lockstep runs from its sources; installed from a wheel it leaves nothing among other packages."""
ENVIRONMENTS = FOLDER.parent / ".environments" if IN_CLONE else user_cache_path("lockstep") / "environments"
_MODE = re.compile(r"[A-Za-z0-9._+-]{1,40}")
_LISTING = """
import importlib.metadata, sys
packages = {f"{found.metadata['Name']} {found.version}" for found in importlib.metadata.distributions()}
print(sys.version, *sorted(packages))
"""
_HEADER = re.compile(r"^# /// script\s*$\n((?:^#(?:| .*)$\n)+?)^# ///\s*$", re.MULTILINE)


class BackendFileError(Exception):
    """A backend's file that cannot be used as one; the message says what is wrong and what would be right."""


class EnvironmentFailed(Exception):
    """An environment that uv could not make; the message is uv's own reason."""


@dataclass(frozen=True)
class BackendFile:
    """What a backend's file says of itself, read without importing it."""

    name: str
    path: Path
    modes: dict[str, str]
    devices: tuple[str, ...]
    header: dict[str, Any]
    hash: str
    """Of the file, and of what it imports from beside it."""
    launcher: tuple[str, ...] = ()
    coordinator: str = ""
    forkable: bool = True
    modes_on_request: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that names an interpreter to use instead of an environment of our own."""
        return f"LOCKSTEP_PYTHON_{re.sub('[^A-Z0-9]', '_', self.name.upper())}"

    def arguments(self, replicas: int) -> tuple[str, ...]:
        """What a worker's script is told besides its socket: how to start replicas that are processes, if any are."""
        if replicas == 1 or not self.launcher:
            return ()
        return str(replicas), self.coordinator, str(self.path), *self.launcher

    def candidates(self, device: str) -> list[str]:
        """The devices to try for "cpu", "gpu", or "auto": the GPU where the backend can use one, else the CPU."""
        return [name for name in ("gpu", "cpu") if name in self.devices] if device == "auto" else [device]


def names() -> list[str]:
    """The backends that come with lockstep: the files in ``backends/`` that carry a PEP 723 header."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if _HEADER.search(path.read_text()))


def find(name: str) -> BackendFile:
    """Return the backend of a name, or of a path that ends in ``.py``.

    Raises BackendFileError if there is none, or if the file has no header, no literal modes or no literal devices.
    """
    if name in names():
        return read(FOLDER / f"{name}.py")
    if not name.endswith(".py"):
        raise BackendFileError(
            f"backend {name!r}: there is none of this name; use {', '.join(names())}, or a path that ends in .py"
        )
    return read(Path(name).absolute())


def read(path: Path) -> BackendFile:
    """Read a backend's file; raises BackendFileError as ``find`` does."""
    try:
        source = path.read_text()
        tree = ast.parse(source)
    except OSError as error:
        raise BackendFileError(f"backend {path}: cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise BackendFileError(f"backend {path}: not a Python file: {error}") from None
    header = _HEADER.search(source)
    if not header:
        raise BackendFileError(
            f"backend {path}: no PEP 723 header; begin the file with '# /// script', its dependencies, '# ///'"
        )
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in header.group(1).splitlines()]
    try:
        values = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise BackendFileError(f"backend {path}: its PEP 723 header is not valid TOML: {error}") from None
    literals = _literals(tree)
    modes, devices = literals.get("modes"), literals.get("devices")
    if not (
        isinstance(modes, dict) and modes and all(isinstance(text, str) for item in modes.items() for text in item)
    ):
        raise BackendFileError(f'backend {path}: its class needs a literal \'modes = {{"name": "description"}}\'')
    for mode in modes:
        if not _MODE.fullmatch(mode):  # it becomes part of a folder's name
            raise BackendFileError(f"backend {path}: mode {mode!r:.60}: take letters, digits and . _ + - (at most 40)")
    if not (isinstance(devices, tuple) and devices and all(device in ("cpu", "gpu") for device in devices)):
        raise BackendFileError(
            f'backend {path}: its class needs a literal \'devices\', such as ("cpu",) or ("cpu", "gpu")'
        )
    launcher, coordinator = literals.get("launcher", ()), literals.get("coordinator", "")
    if not (isinstance(launcher, tuple) and all(isinstance(part, str) for part in (*launcher, coordinator))):
        raise BackendFileError(f"backend {path}: 'launcher' is a tuple of texts, and 'coordinator' is a text")
    forkable = literals.get("forkable", True)
    if not isinstance(forkable, bool):
        raise BackendFileError(f"backend {path}: 'forkable' is True or False")
    on_request = literals.get("modes_on_request", ())
    if not (isinstance(on_request, tuple) and set(on_request) < set(modes)):
        raise BackendFileError(f"backend {path}: 'modes_on_request' is a tuple of some of its modes, and not of all")
    try:
        hash_ = sources.identity(path)
    except OSError as error:
        raise BackendFileError(f"backend {path}: {error.filename} beside it cannot be read: {error.strerror}") from None
    return BackendFile(path.stem, path, modes, devices, values, hash_, launcher, coordinator, forkable, on_request)


def _literals(tree: ast.Module) -> dict[str, Any]:
    """The literal attributes of the first class of a module that has both ``modes`` and ``devices``."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        found = {}
        for statement in node.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    pass
                case _:
                    continue
            with contextlib.suppress(ValueError):  # not a literal
                found[name] = ast.literal_eval(value)
        if {"modes", "devices"} <= found.keys():
            return found
    return {}


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is installed, which decides whether a header's GPU dependencies are installed too."""
    return shutil.which("nvidia-smi") is not None


def is_ready(backend: BackendFile) -> bool:
    """Whether the backend's environment has been made from its present header."""
    stamp = _folder(backend) / "lockstep-header"
    return stamp.exists() and stamp.read_text() == _stamp(backend)


class Interpreters:
    """The Python interpreter of each backend: one that the user gave, or that of an environment made on first use."""

    def __init__(self, given: Mapping[str, str], tell: Callable[[str], None], offline: bool = False) -> None:
        """Take interpreters by backend name, "current" for the running one; ``tell`` gets uv's progress by the line.

        ``offline`` forbids to download anything.
        """
        self._given = given
        self.tell = tell
        self.offline = offline
        self._found: dict[Path, Path | EnvironmentFailed] = {}
        self._installed: dict[Path, str] = {}

    def given(self, backend: BackendFile) -> Path | None:
        """Return the interpreter that ``--python`` or the environment variable names, or None.

        Raises BackendFileError if it is not there.
        """
        python = self._given.get(backend.name) or os.environ.get(backend.variable)
        if not python:
            return None
        path = sys.executable if python == "current" else shutil.which(python)
        if path is None:
            raise BackendFileError(
                f"interpreter of backend {backend.name}: {python!r} is no executable file; give a path, or 'current'"
            )
        return Path(path).absolute()

    def path(self, backend: BackendFile) -> Path:
        """Return the backend's interpreter; make its environment first if there is none for its present header.

        Raises EnvironmentFailed with uv's reason, the same one again if it is asked for again.
        """
        if backend.path not in self._found:
            try:
                self._found[backend.path] = self.given(backend) or _ensure(backend, self.tell, self.offline)
            except EnvironmentFailed as error:
                self._found[backend.path] = error
        found = self._found[backend.path]
        if isinstance(found, EnvironmentFailed):
            raise found
        return found

    def installed(self, backend: BackendFile) -> str:
        """Say which Python and which packages there are where the backend runs: a hash of names and versions.

        Empty if its environment has not been made yet, or if its interpreter does not answer.
        """
        python = self.given(backend) or (_python(backend) if is_ready(backend) else None)
        if python is None:
            return ""
        if python not in self._installed:
            try:
                listed = subprocess.run([str(python), "-I", "-c", _LISTING], capture_output=True, check=True).stdout
            except (OSError, subprocess.CalledProcessError):
                return ""
            self._installed[python] = hashlib.sha256(listed).hexdigest()
        return self._installed[python]


def _ensure(backend: BackendFile, tell: Callable[[str], None], offline: bool) -> Path:
    folder, python = _folder(backend), _python(backend)
    if is_ready(backend):
        return python
    try:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not is_ready(backend):
                tell(f"making the environment of {backend.name} in {folder}")
                _make(backend, folder, python, tell, offline)
    except OSError as error:
        raise EnvironmentFailed(f"{folder}: {error.strerror or error}") from None
    return python


def _make(backend: BackendFile, folder: Path, python: Path, tell: Callable[[str], None], offline: bool) -> None:
    no_network = ["--offline"] if offline else []
    shutil.rmtree(folder, ignore_errors=True)
    request = backend.header.get("requires-python", ">=3.11")
    extra = backend.header.get("tool", {}).get("lockstep", {}).get("gpu-dependencies", []) if has_nvidia_gpu() else []
    _uv(["venv", *no_network, "--python", request, str(folder)], tell)
    _uv(["pip", "install", *no_network, "--python", str(python), "-r", str(backend.path), *extra], tell)
    (folder / "lockstep-header").write_text(_stamp(backend))


def _uv(arguments: list[str], tell: Callable[[str], None]) -> None:
    process = subprocess.Popen(
        [find_uv_bin(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout  # noqa: S101 - it is a pipe
    lines = []
    try:
        for line in process.stdout:
            if line.strip():
                lines.append(line.strip())
                tell(line.strip())
    except BaseException:  # a signal may be for this process alone
        process.kill()
        raise
    if process.wait() != 0:
        raise EnvironmentFailed(f"uv {' '.join(arguments[:2])}: {' '.join(lines)[-600:]}")


def _folder(backend: BackendFile) -> Path:
    if backend.path.parent == FOLDER:
        return ENVIRONMENTS / backend.name
    return ENVIRONMENTS / f"{backend.name}-{hashlib.sha256(str(backend.path).encode()).hexdigest()[:8]}"


def _python(backend: BackendFile) -> Path:
    return _folder(backend) / "bin" / "python"


def _stamp(backend: BackendFile) -> str:
    return json.dumps([backend.header, has_nvidia_gpu()], sort_keys=True)
