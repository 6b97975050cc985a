"""The log of a worker: what its process prints, the beginning and the end of it, however much that is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

HEAD = 4 * 2**20
"""Bytes from the beginning that are kept."""

TAIL = 2**20
"""Bytes from the end that are kept; what lies between is counted."""


class BoundedLog:
    """Copies a pipe into a file as it comes, in a thread that sleeps as long as nothing is printed."""

    def __init__(self, pipe: int, path: Path, beginning: bytes = b"") -> None:
        """Write the beginning, then copy from the reading end ``pipe``, until its last writer is gone.

        Raises OSError.
        """
        self._pipe = pipe
        self._tail = bytearray()
        self._left_out = 0
        self._file = path.open("wb", buffering=0)
        self._write(beginning)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait until all has been copied that ended processes have printed."""
        self._thread.join(timeout=1)  # a process that got away may hold the pipe for as long as it likes

    def _copy(self) -> None:
        room = HEAD
        while chunk := os.read(self._pipe, 2**16):
            self._write(chunk[:room])
            self._keep(chunk[room:])
            room -= min(room, len(chunk))
        os.close(self._pipe)
        self._cut()
        if self._left_out:
            self._write(f"\n[lockstep left out {self._left_out:,} bytes here]\n".encode())
        self._write(bytes(self._tail))
        self._file.close()

    def _keep(self, rest: bytes) -> None:
        self._tail += rest
        if len(self._tail) > 2 * TAIL:  # not every time: to move what is left takes as long as it is large
            self._cut()

    def _cut(self) -> None:
        if len(self._tail) > TAIL:
            self._left_out += len(self._tail) - TAIL
            del self._tail[:-TAIL]

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError:  # the disk is full; a worker that waits for its pipe to be read would be worse than no log
            self._left_out += len(content)
