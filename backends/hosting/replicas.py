"""Replicas that are processes: the framework's own launcher starts them, and they answer the parent as one worker.

The parent's worker (``relay``) hosts no backend then. It runs the launcher, whose processes come back to a socket in
the working directory, because launchers hand down no file descriptors (``join``). It passes every request on to all of
them, waits for all, and answers with one reply: of replicas whose gradients are averaged, one is as good as another.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from backends.contract import THREAD_VARIABLES

DOOR = "replicas"
"""Name of the socket in the working directory; a whole path may be longer than a socket's name can be."""

PATIENCE = 0.1
"""Seconds between two looks at whether the launcher is still there."""

LAST_WORDS = 3.0
"""Seconds that the launcher has to write into the log why a replica has ended: msrun looks once a second."""

Message = list[bytes]
"""A reply: its header, and its arrays."""


def relay(channel: Connection, script: str, replicas: int, coordinator: str, backend: str, launcher: list[str]) -> None:
    """Start ``replicas`` processes of ``script``, and answer the parent's requests through them until it hangs up.

    ``backend`` and ``coordinator`` are for a further process that a launcher may need (``Backend.coordinator``).
    """
    try:
        process, members = _launched([script, DOOR, coordinator, backend], replicas, launcher)
    except OSError as error:
        _send(channel, [_json({"failed": f"{launcher[0]}: {error.strerror or error}"})])
        return
    channel.send_bytes(_json({"hello": os.getpid(), "replicas": _placed(members)}))
    while True:
        try:
            request = channel.recv_bytes()
        except EOFError:
            return
        for member in members:
            with suppress(OSError):  # it has ended, as its reply will tell
                member.send_bytes(request)
        do = json.loads(request)["do"]
        if do == "goodbye":
            return
        more = True
        while more:
            reply = _as_one(do, _replies(members, process))
            _send(channel, reply)
            more = json.loads(reply[0]).get("more", False)


def _launched(
    script: list[str], replicas: int, launcher: list[str]
) -> tuple[subprocess.Popen[bytes], list[Connection]]:
    """Have the launcher start the replicas; return it and their connections; raises OSError if it does not."""
    command = [part.format(python=sys.executable, replicas=replicas, port=_free_port()) for part in launcher]
    # Launchers look for the interpreter on the path, and its option -P, which WorkerProcess explains, ends with them.
    path = f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(DOOR)
        door.listen(replicas)
        process = subprocess.Popen([*command, *script], env=environment, preexec_fn=die_with_parent)
        return process, _admitted(door, process, replicas)


def _placed(members: Sequence[Connection]) -> list[dict[str, Any]]:
    """Give each replica its processors and the log; return its process and its processors."""
    processors = affinity()
    places = []
    for number, member in enumerate(members):
        share = share_of(processors, number, len(members)) if processors else []
        member.send_bytes(_json({"processors": share}))
        send_handle(member, sys.stdout.fileno(), None)
        places.append({"pid": json.loads(member.recv_bytes())["hello"], "processors": share})
    return places


def join(door: str) -> Connection:
    """Connect to the relay, and take the processors and the log that it gives; the requests come from there then."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(door)
        channel = Connection(connection.detach())
    processors = json.loads(channel.recv_bytes())["processors"]
    log = recv_handle(channel)
    for stream in (1, 2):  # launchers keep what their processes print elsewhere
        os.dup2(log, stream)
    if processors:
        os.sched_setaffinity(0, processors)
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(len(processors))
    return channel


def share_of(processors: Sequence[int], place: int, replicas: int) -> list[int]:
    """The processors of one of the replicas: about the same number for each, and at least one.

    One and many replicas have the same processors in all. Where there are more replicas than processors, they share.
    """
    if replicas > len(processors):
        return [processors[place % len(processors)]]
    each, more = divmod(len(processors), replicas)
    begin = place * each + min(place, more)
    return list(processors[begin : begin + each + (place < more)])


def affinity() -> list[int] | None:
    """The processors this process may run on; None where the system has no such notion."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def die_with_parent() -> None:
    """Have the kernel end this process when the parent is gone, also while it is stopped or busy (Linux only)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _admitted(door: socket.socket, process: subprocess.Popen[bytes], replicas: int) -> list[Connection]:
    """Wait until all replicas are there; raises OSError if the launcher ends before."""
    members: list[Connection] = []
    door.settimeout(PATIENCE)
    while len(members) < replicas:
        try:
            connection, _ = door.accept()
        except TimeoutError:
            if process.poll() is not None:
                text = f"the launcher ended with code {process.returncode}, and {len(members)} of {replicas} replicas"
                raise OSError(f"{text} had been started") from None
            continue
        connection.setblocking(True)
        members.append(Connection(connection.detach()))
    return members


def _replies(members: Sequence[Connection], launcher: subprocess.Popen[bytes]) -> list[Message]:
    """The reply of every replica; of the first one alone that has failed: the others may wait for it for ever."""
    found: dict[Connection, Message] = {}
    while len(found) < len(members):
        for member in wait([member for member in members if member not in found]):
            assert isinstance(member, Connection)  # noqa: S101 - nothing else was given to wait
            try:
                header = member.recv_bytes()
                values = json.loads(header)
                found[member] = [header, *(member.recv_bytes() for _ in range(values["arrays"]))]
            except (EOFError, OSError):
                text = f"replica {members.index(member)} of {len(members)} ended before it answered"
                with suppress(subprocess.TimeoutExpired):
                    launcher.wait(LAST_WORDS)
                return [[_json({"failed": text})]]
            if "failed" in values:
                return [found[member]]
    return [found[member] for member in members]


def _as_one(do: str, replies: list[Message]) -> Message:
    """What the replicas have said, as if it came from one worker: memory, threads and processors are those of all."""
    values: list[dict[str, Any]] = [json.loads(reply[0]) for reply in replies]
    for reply, value in zip(replies, values, strict=True):
        if "failed" in value or "unavailable" in value:
            return reply
    first = values[0]
    if do == "memory":
        first["peak"] = sum(value["peak"] for value in values)
    if do == "describe":
        settings = [value["settings"] for value in values]
        for name in ("threads", "peak_memory_bytes"):
            if first["settings"].get(name) is not None:
                first["settings"][name] = sum(own[name] for own in settings)
        if first["affinity"] is not None:
            first["affinity"] = sorted({processor for value in values for processor in value["affinity"]})
    return [_json(first), *replies[0][1:]]


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode()


def _send(channel: Connection, message: Message) -> None:
    for part in message:
        channel.send_bytes(part)
