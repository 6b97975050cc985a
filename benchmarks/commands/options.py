"""Options that several commands have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from backends.hosting import environments
from benchmarks.errors import InputError

Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Folder of the store, the tables and the logs.")
]

Pythons = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATH",
        help="Interpreter of a backend instead of an environment of its own; 'current' is the running one.",
    ),
]

Offline = Annotated[
    bool,
    typer.Option("--offline", envvar="LOCKSTEP_OFFLINE", help="Download nothing, neither data sets nor packages."),
]

Device = Annotated[Literal["cpu", "gpu", "auto"], typer.Option(help="auto is the GPU where the backend finds one.")]


def pythons_given(entries: list[str], backends: list[str]) -> dict[str, str]:
    """Return the interpreters of --python NAME=PATH by name; raises InputError if one is not written so."""
    known = [*environments.names(), *(Path(name).stem for name in backends if name.endswith(".py"))]
    pythons = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not equals or not path or name not in known:
            raise InputError(f"--python {entry}: write NAME=PATH, with NAME one of {', '.join(known)}")
        if path != "current" and shutil.which(path) is None:
            raise InputError(f"--python {entry}: {path!r} is no executable file; give a path, or 'current'")
        pythons[name] = path
    return pythons
