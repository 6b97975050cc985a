"""What goes wrong with a store."""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """A store that cannot be opened, read or written; the message names the file and the reason."""


class DamagedStoreError(StoreError):
    """A store that SQLite itself cannot read as a whole; ``results.recovery`` keeps what can be read of ``path``."""

    def __init__(self, path: Path, reason: str) -> None:
        """Keep the file."""
        super().__init__(f"{path}: {reason}")
        self.path = path
