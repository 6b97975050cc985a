"""A worker makes another one: a copy of a process that has imported its framework and done nothing with it yet.

An import takes seconds, a copy some 15 ms, and the two share what the import has brought into memory. The copy is no
child of the process that it comes from but of lockstep itself, like a worker with an interpreter of its own: neither
of the two takes the other with it when it ends. Linux only.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path

from backends.hosting.replicas import die_with_parent

ADOPTION_CHECK = 0.0002
"""Seconds between two looks at whether lockstep has become the parent."""


def threads() -> int:
    """The threads of this process; 0 where the system does not tell. A copy has only the one that copies."""
    return sum(1 for _ in Path("/proc/self/task").iterdir()) if sys.platform == "linux" else 0


def fork(channel: Connection, folder: str, environment: dict[str, str], parent: int) -> int | Connection:
    """Copy this process; return the copy's process number, and in the copy the channel to its own parent.

    The channel and the log of the copy come through ``channel`` as file descriptors, in this order. The copy works in
    ``folder``, with changed variables of ``environment``; ``parent`` is the process that adopts it. Raises OSError.
    """
    theirs, log = recv_handle(channel), recv_handle(channel)
    told, tells = os.pipe()
    try:
        middle = os.fork()
        if middle == 0:
            _leave_a_copy(tells, parent)
            channel.close()  # lockstep is to see the end of the process that this one comes from
            _settle(log, folder, environment)
            os.close(told)
            return Connection(theirs)
        os.close(theirs)
        os.waitpid(middle, 0)
    finally:
        os.close(log)
        os.close(tells)
    pid = os.read(told, 32)
    os.close(told)
    if not pid:
        raise OSError("no second process could be made")
    return int(pid)


def _leave_a_copy(tells: int, parent: int) -> None:
    """Fork once more and end, as the copy of a process that ends is adopted; return in the copy."""
    middle = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os.write(tells, str(pid).encode())
        os._exit(0)
    os.setsid()  # one signal reaches it with all its descendants, and a Ctrl-C does not
    while os.getppid() == middle:
        time.sleep(ADOPTION_CHECK)
    die_with_parent()
    if os.getppid() != parent:  # which has ended meanwhile
        os._exit(1)


def _forget_temporary_folder() -> None:
    """Remove the variables that the import has made of the first process's folder for temporary files, if any.

    PyTorch 2.15 does so with TORCHINDUCTOR_CACHE_DIR: all copies would share a cache, whatever folder they have.
    """
    folder = os.environ.get("TMPDIR")
    for name, value in list(os.environ.items()):
        if folder and value.startswith(f"{folder}/"):
            del os.environ[name]


def _settle(log: int, folder: str, environment: dict[str, str]) -> None:
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(folder)
    _forget_temporary_folder()
    os.environ.update(environment)
    tempfile.tempdir = None  # it may have been looked up already
