"""The command behind ``nox -s docs``: write the figures of README and guides from the result sets of the repository.

And the tutorials as programs of each framework, from their experiments.
"""

from __future__ import annotations

import argparse
import sys

from tests.documents.figures import DOCUMENTS, ROOT, with_figures
from tests.documents.programs import programs


def main() -> int:
    """Write every document anew, say which have changed, and return the exit code."""
    argparse.ArgumentParser(prog="python -m tests.documents", description=__doc__).parse_args()
    for name in DOCUMENTS:
        _write(name, with_figures(name, (ROOT / name).read_text("utf-8")))
    for name, program in programs():
        _write(name, program)
    return 0


def _write(name: str, text: str) -> None:
    path = ROOT / name
    old = path.read_text("utf-8") if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{name}: {'as it was' if text == old else 'written'}")


if __name__ == "__main__":
    sys.exit(main())
