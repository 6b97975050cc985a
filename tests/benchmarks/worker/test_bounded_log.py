"""A log holds the beginning and the end of what was printed, and never more than its bound."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.worker.bounded_log import HEAD, TAIL, BoundedLog


def logged(path: Path, *pieces: bytes) -> bytes:
    reading, writing = os.pipe()
    log = BoundedLog(reading, path)
    for piece in pieces:
        with open(os.dup(writing), "wb") as file:
            file.write(piece)
    os.close(writing)
    log.close()
    return path.read_bytes() if path.is_file() else b""


def test_what_is_short_is_kept_as_it_is(tmp_path: Path) -> None:
    assert logged(tmp_path / "log", b"one\n", b"two\xff\n") == b"one\ntwo\xff\n"
    exactly = os.urandom(HEAD + TAIL)
    assert logged(tmp_path / "log", exactly) == exactly


@pytest.mark.parametrize("tails", [1.5, 10.0])
def test_what_is_long_keeps_its_beginning_and_its_end(tmp_path: Path, tails: float) -> None:
    middle = HEAD + int(tails * TAIL)
    log = logged(tmp_path / "log", b"begin", b"x" * middle, b"end")
    assert len(log) < HEAD + TAIL + 100
    assert log.startswith(b"begin")
    assert log.endswith(b"xend")
    note = log[HEAD : HEAD + 100].split(b"\n")[1].decode()
    left_out = int(note.split()[3].replace(",", ""))
    assert len(log) - len(note) - 2 + left_out == len("begin") + middle + len("end")


def test_a_full_disk_does_not_stop_the_process_that_prints(tmp_path: Path) -> None:
    assert logged(Path("/dev/full"), b"x" * 10 * HEAD) == b"", "and this came back"
