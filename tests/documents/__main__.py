"""The command behind ``nox -s docs``: write the figures of README and guides from the result sets of the repository."""

from __future__ import annotations

import argparse
import sys

from tests.documents.figures import DOCUMENTS, ROOT, with_figures


def main() -> int:
    """Write every document anew, say which have changed, and return the exit code."""
    argparse.ArgumentParser(prog="python -m tests.documents", description=__doc__).parse_args()
    for name in DOCUMENTS:
        path = ROOT / name
        old = path.read_text("utf-8")
        new = with_figures(name, old)
        path.write_text(new, encoding="utf-8")
        print(f"{name}: {'as it was' if new == old else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
