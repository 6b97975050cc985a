"""What the inputs go into, and the judgement of what comes of them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from PIL import Image

from benchmarks import cli
from tests.results.made_up import fill

VALID, NOTHING, REFUSED, RECOVERED = 0, 3, 2, 1
"""Exit codes; the last one only for a damaged store, of which what can be read is kept."""


@dataclass
class Count:
    """What came of the inputs of one way in."""

    cases: int = 0
    refused: int = 0
    valid: int = 0
    problems: list[str] = field(default_factory=list)
    """Tracebacks, more than one line, or something written although the input was refused."""


class Ground:
    """A folder with what the inputs go into, and the count of what came of them."""

    def __init__(self, folder: Path) -> None:
        """Make a small results folder and a picture folder."""
        self.folder = folder
        self.count = Count()
        self.store = fill(folder / "whole", experiments=1, rounds=2).path.read_bytes()
        for name in ("given", "other"):
            (folder / name).mkdir()
        (folder / "other" / "lockstep.sqlite").write_bytes(self.store)
        self.pictures = folder / "pictures"
        for name in ("a", "b"):
            (self.pictures / name).mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (4, 4)).save(self.pictures / name / f"{number}.png")

    def run(self, *arguments: str, variables: dict[str, str] | None = None, writes: bool = False) -> None:
        """Hand arguments to the real command line and judge what comes of them."""
        before = _listing(self.folder)
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        trouble = ""
        inside = {**variables} if variables else {}
        with (
            mock.patch.object(sys, "argv", ["lockstep", *arguments]),
            mock.patch.dict(os.environ, inside),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(self.folder),
        ):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            except BaseException as error:  # what a user would see as a traceback
                trouble = f"{type(error).__name__}: {error}"
        self.count.cases += 1
        told = code == RECOVERED and "the damaged file is now" in err.getvalue() and err.getvalue().count("\n") == 1
        if not trouble and told:
            self.count.refused += 1
        elif not trouble and code == REFUSED:
            self.count.refused += 1
            if err.getvalue().count("\n") != 1:
                trouble = f"{err.getvalue().count(chr(10))} lines: {err.getvalue()}"
            elif _listing(self.folder) != before:
                trouble = "it was refused, and something was written"
        elif not trouble and code in (VALID, NOTHING):
            self.count.valid += 1
            if not writes and _listing(self.folder) != before:
                trouble = "it only reads, and something was written"
        elif not trouble:
            trouble = f"exit code {code}: {err.getvalue()}"
        if trouble:
            self.count.problems.append(f"{' '.join(arguments)[:200]!r}: {trouble[:400]}")


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
