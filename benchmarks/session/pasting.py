"""Commands that lockstep prints: pasted into a shell in the same folder, they do what is said of them."""

from __future__ import annotations

import shlex
from pathlib import Path

from backends.hosting import environments

RESULTS = (environments.FOLDER.parent if environments.IN_CLONE else Path()) / "results" / "out"
"""The folder of results that commands take without --results; that of an installed lockstep is where it is run."""


def typed(*arguments: str, results: Path) -> str:
    """Return what to type for a command on a folder of results, quoted where a shell needs it."""
    folder = () if results == RESULTS else ("--results", str(results))
    return shlex.join(["lockstep", *arguments, *folder])
