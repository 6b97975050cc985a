"""Which files a backend is made of: its own, and what that one imports from beside it or from this package.

They are found without importing anything, by the names in their import statements, and by texts that are the name of a
Python file beside them, with which ``importlib`` may be told to load it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = Path(__file__).parents[2]
"""The folder of the package ``backends``, which every worker can import."""


def imported(path: Path) -> list[Path]:
    """The Python files that a backend's file imports from its own folder or from ``backends``, and what they import."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        file = waiting.pop()
        beside = (file.parent, path.parent, PACKAGES)
        for other in dict.fromkeys(other for name in _names(file.read_bytes()) for other in _files(name, beside)):
            if other not in (path, *found):
                found.append(other)
                waiting.append(other)
    return sorted(found)


def identity(path: Path) -> str:
    """SHA-256 of a backend's file and of all that it imports from beside it or from ``backends``, wherever they lie."""
    others = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in imported(path))
    return hashlib.sha256(path.read_bytes() + "".join(others).encode()).hexdigest()


def own(path: Path) -> dict[str, bytes]:
    """What has to travel with a backend's file, itself included: the files beside it, by their paths there."""
    files = [path, *(file for file in imported(path) if file.is_relative_to(path.parent))]
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files}


@cache
def _names(source: bytes) -> list[str]:
    """The dotted names that a file imports, and those of Python files that its texts name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []  # its import will fail, and the run's row says why
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names):
                found += [".".join(filter(None, (module, alias.name))) for alias in names]
            case ast.Constant(value=str(text)) if text.endswith(".py") and text[:-3].isidentifier():
                found.append(text[:-3])
    return found


def _files(name: str, folders: tuple[Path, ...]) -> Iterator[Path]:
    """The files that are run when a dotted name is imported from the first of some folders that has it."""
    first, *_ = name.split(".")
    for folder in folders:
        if (folder / f"{first}.py").is_file():
            yield folder / f"{first}.py"
            return
        if (folder / first / "__init__.py").is_file():
            for part in name.split("."):
                folder /= part
                yield from (file for file in (folder / "__init__.py", folder.with_suffix(".py")) if file.is_file())
            return
