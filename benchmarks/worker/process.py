"""The parent's side of one worker: start it, ask it, time it, pause it, and end it whatever happens."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

import backends
from benchmarks.worker.bounded_log import BoundedLog
from results.record import Status

WORKER = Path(backends.__file__).parent / "hosting" / "worker.py"
LARGEST_MESSAGE = 2**30  # bytes; a longer one is taken for garbage
LONGEST_STOP = 5.0  # seconds; what a worker computes although it was told to stop by then is counted against it


class WorkerError(Exception):
    """A request that did not succeed: ``status`` is the status of the run, the message the reason."""

    def __init__(self, status: Status, reason: str) -> None:
        """Keep both."""
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a worker sent back, and how long it took."""

    values: dict[str, Any]
    arrays: list[NDArray[Any]]
    began: float
    """A reading of ``perf_counter`` just before the request was sent, or when the answer before it was there."""
    seconds: float
    """From then until this answer was there; its arrays, which the worker has by then, follow."""


@dataclass(frozen=True)
class Launch:
    """How a worker process is started: what is the same for all workers of a session, and its own folder and log."""

    python: Path
    folder: Path
    log: Path
    environment: dict[str, str]
    processors: list[int]
    budget: float
    """Seconds that all requests of the run together may take."""
    arguments: Sequence[str] = ()
    """Of ``BackendFile.arguments``: how replicas are started, if they are processes."""


class WorkerProcess:
    """A fresh process in a backend's environment, with a channel of its own; its prints go to a log.

    The worker lives in a session of its own, so that a Ctrl-C reaches only the parent and one signal reaches the
    whole tree.
    """

    def __init__(self, launch: Launch, host: WorkerProcess | None = None, beginning: bytes = b"") -> None:
        """Start the process; it has to be asked for ``hello`` before anything else.

        With a ``host``, a worker that has imported the framework and done no more, it is a copy of that process; what
        the host was launched with holds for it, but for folder, log, processors and the variables that differ.
        ``beginning`` is what its log begins with.
        Raises WorkerError if it cannot be started, because its file is no program or the disk is full.
        """
        self._budget = launch.budget
        self._timed_out = False
        self._environment = launch.environment
        self._channel, theirs = Pipe()
        self.started = time.perf_counter()
        printed, prints = os.pipe()
        try:
            self._log = BoundedLog(printed, launch.log, beginning)
            self._process = (
                host._copied(launch, theirs.fileno(), prints) if host else _started(launch, theirs.fileno(), prints)
            )
        except OSError as error:
            raise WorkerError("failed", f"cannot be started: {error.strerror}: {error.filename}") from None
        finally:
            os.close(prints)
            theirs.close()
        self.pid = self._process.pid
        self.places: list[tuple[int, list[int]]] = [(self.pid, launch.processors)]
        """The processes that train, and the processors of each."""
        self._tree = [self._process]
        self.paused_cpu_seconds = 0.0
        """Processor time that the process took while it was stopped."""
        self._cpu_when_paused: float | None = None
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.pid, launch.processors)

    def hello(self) -> float:
        """Wait until the interpreter is up, of every replica; return the seconds since the process was started."""
        values, _, _ = self._receive("start")
        values = self._checked(values)
        seconds = time.perf_counter() - self.started
        if "replicas" in values:
            self.places = [(replica["pid"], replica["processors"]) for replica in values["replicas"]]
            self._tree += self._tree[0].children(recursive=True)
        return seconds

    def ask(self, what: str, **arguments: Any) -> Answer:
        """Send a request and wait for its answer, the last one if there are several; it is timed from the request on.

        Raises WorkerError with status "unavailable" or "failed" as the worker says, "failed" if it died or
        answered nonsense, "timeout" if its budget ran out; after the last two the process is gone.
        """
        answers = list(self.answers(what, **arguments))
        seconds = sum(answer.seconds for answer in answers)
        return replace(answers[-1], began=answers[0].began, seconds=seconds)

    def answers(self, what: str, **arguments: Any) -> Iterator[Answer]:
        """Send a request and yield all its answers as they come; raises WorkerError as ``ask`` does.

        The worker waits for nothing between them. The time of an answer but the first is from message to message: at
        both ends of it the parent wakes up as late, which the first one has at one end only.
        """
        began = self._send(what, arguments)
        more = True
        while more:
            values, arrays, done = self._receive(what)
            more = self._checked(values).pop("more", False)
            yield Answer(values, arrays, began, done - began)
            began = done

    def _copied(self, launch: Launch, channel: int, log: int) -> psutil.Process:
        """Have this worker copy itself; raises WorkerError if it cannot or is gone."""
        _adopt_orphans()
        changed = {name: value for name, value in launch.environment.items() if self._environment.get(name) != value}
        self._send("fork", {"folder": str(launch.folder), "environment": changed, "parent": os.getpid()})
        try:
            for descriptor in (channel, log):
                send_handle(self._channel, descriptor, self.pid)
        except OSError:
            raise self._died() from None
        values, _, _ = self._receive("fork")
        return psutil.Process(self._checked(values)["pid"])

    def _send(self, what: str, arguments: dict[str, Any]) -> float:
        """Send a request; return when that began."""
        message = json.dumps({"do": what, "arguments": arguments}).encode()
        began = time.perf_counter()
        try:
            self._channel.send_bytes(message)
        except OSError:
            raise self._died() from None
        return began

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        if "unavailable" in values:
            raise WorkerError("unavailable", values["unavailable"])
        if "failed" in values:
            raise WorkerError("failed", values["failed"])
        return values

    def _receive(self, what: str) -> tuple[dict[str, Any], list[NDArray[Any]], float]:
        """The values and arrays of an answer, and when it was there."""
        # A watchdog that kills the worker ends every wait, also one for the second half of a message.
        watchdog = threading.Timer(max(0.0, self._budget), self._time_out)
        watchdog.daemon = True  # a signal may come before it is cancelled, and the process would wait for it to exit
        begin = time.perf_counter()
        try:
            watchdog.start()
            message = self._channel.recv_bytes(LARGEST_MESSAGE)
            done = time.perf_counter()
            values = json.loads(message)
            arrays = [
                np.load(io.BytesIO(self._channel.recv_bytes(LARGEST_MESSAGE)), allow_pickle=False)
                for _ in range(values.get("arrays", 0))
            ]
        except (EOFError, OSError):
            watchdog.cancel()  # or it may be what ends the process while its exit code is waited for
            raise self._died() from None
        except (ValueError, TypeError, AttributeError, MemoryError) as error:
            self.kill()
            raise WorkerError("failed", f"the worker's answer to {what!r} is not readable: {error}"[:300]) from None
        finally:
            watchdog.cancel()
            self._budget -= time.perf_counter() - begin
        return values, arrays, done

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def _died(self) -> WorkerError:
        if self._timed_out:
            return WorkerError("timeout", "no answer within the time-out; the process was ended")
        try:
            code = self._process.wait(timeout=2)  # the channel closes a moment before the process is gone
        except psutil.TimeoutExpired:
            return WorkerError("failed", "the worker's answer is not readable")
        finally:
            self.kill()
        if code == -signal.SIGKILL:
            reason = "the worker was ended by SIGKILL; if nobody did it, the system was out of memory"
            return WorkerError("failed", reason)
        if code < 0:
            return WorkerError("failed", f"the worker was ended by {signal.Signals(-code).name}")
        return WorkerError("failed", f"the worker exited with code {code} before it answered")

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return bool(self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE)

    def cpu_seconds(self) -> float:
        """Processor time of the process so far, user and system, all threads; with replicas, of all processes."""
        seconds = 0.0
        for process in self._tree:
            with suppress(psutil.NoSuchProcess):  # a replica has just ended: the next request will tell
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds

    def pause(self) -> None:
        """Stop the whole process tree, so that a waiting worker takes nothing from the one that has the turn.

        Returns when it has stopped: a busy or halting machine can take a while to deliver the signal.
        """
        self._signal(signal.SIGSTOP)
        end = time.perf_counter() + LONGEST_STOP
        while not all(map(_has_stopped, self._tree)) and time.perf_counter() < end:
            time.sleep(0.0005)
        self._cpu_when_paused = self.cpu_seconds()

    def resume(self) -> None:
        """Let the process tree go on."""
        if self._cpu_when_paused is not None:
            self.paused_cpu_seconds += self.cpu_seconds() - self._cpu_when_paused
            self._cpu_when_paused = None
            self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Say goodbye and make sure that nothing of the process tree is left."""
        try:
            self.resume()
            self._channel.send_bytes(json.dumps({"do": "goodbye"}).encode())
            self._process.wait(timeout=5)
        except (OSError, psutil.TimeoutExpired):
            pass
        self.kill()

    def kill(self) -> None:
        """End the process and all its descendants at once, and wait for it."""
        with suppress(psutil.NoSuchProcess):
            self._tree += self._tree[0].children(recursive=True)
        self._signal(signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(self._tree[1:], LONGEST_STOP)  # what has lost its parent is this process's to wait for
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        for process in self._tree[1:]:  # launchers give their processes groups of their own
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _has_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _started(launch: Launch, channel: int, log: int) -> psutil.Process:
    """Start an interpreter with the worker's script; raises OSError."""
    # -P keeps the script's folder off sys.path, where backends/jax.py would hide jax.
    return psutil.Popen(
        [str(launch.python), "-P", "-u", str(WORKER), str(channel), *launch.arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=launch.folder,
        env=launch.environment,
        pass_fds=[channel],
        start_new_session=True,
    )


def _adopt_orphans() -> None:
    """Have the kernel make this process the parent of descendants whose own one ends (Linux only)."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)
