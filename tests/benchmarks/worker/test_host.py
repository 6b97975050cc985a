"""A framework is imported once: copies of the process that has done it are workers of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.machine.processors import processors_for
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.host import Host, NoHost, import_framework
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess

Make = Callable[..., Host | NoHost]
Copy = Callable[[Host], WorkerProcess]

TOP = """
print('imported')
os.environ['CACHE_OF_THE_FRAMEWORK'] = os.environ['TMPDIR'] + '/cache'
"""
SPY = """
def describe(self):
    here = {name: os.environ.get(name) for name in ('TMPDIR', 'CACHE_OF_THE_FRAMEWORK')}
    print('described')
    return {**here, 'folder': os.getcwd(), 'group': os.getpgid(0), 'parent': os.getppid()}
"""


@pytest.fixture
def started() -> Iterator[list[WorkerProcess]]:
    processes: list[WorkerProcess] = []
    yield processes
    for process in processes:
        process.kill()


def launch(folder: Path, budget: float = 60) -> Launch:
    folder.mkdir()
    environment = {**worker_environment(1), "TMPDIR": str(folder)}
    return Launch(Path(sys.executable), folder, folder / "log", environment, processors_for(1), budget)


@pytest.fixture
def make(tmp_path: Path, write_backend, started: list[WorkerProcess]) -> Make:
    def make(body: str = SPY, top: str = TOP) -> Host | NoHost:
        own = launch(tmp_path / "host")
        process = WorkerProcess(own)
        started.append(process)
        return import_framework(process, own, write_backend("spy", body, top))

    return make


@pytest.fixture
def copy(tmp_path: Path, started: list[WorkerProcess]) -> Copy:
    def copy(host: Host) -> WorkerProcess:
        worker = WorkerProcess(launch(tmp_path / f"copy-{len(started)}"), host.process, host.printed)
        started.append(worker)
        worker.hello()
        return worker

    return copy


def lives(pid: int) -> bool:
    """Whether a process is there and does not only wait for somebody to ask how it ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def describe(worker: WorkerProcess) -> dict[str, object]:
    return dict(worker.ask("describe").values["settings"])


def test_a_copy_is_a_worker_of_lockstep_with_a_place_of_its_own(tmp_path: Path, make: Make, copy: Copy) -> None:
    host = make()
    assert isinstance(host, Host)
    assert host.copyable
    end = time.perf_counter() + 5
    while not host.printed.endswith(b"\n") and time.perf_counter() < end:
        time.sleep(0.01)  # a thread brings into the log what is printed, in pieces
    worker = copy(host)
    told = describe(worker)
    folder = str(tmp_path / "copy-1")
    assert (told["folder"], told["TMPDIR"]) == (folder, folder)
    assert told["CACHE_OF_THE_FRAMEWORK"] is None, "what the import made of the host's folder is forgotten"
    assert (told["parent"], told["group"]) == (os.getpid(), worker.pid)
    assert os.sched_getaffinity(worker.pid) == set(processors_for(1))
    worker.close()
    assert (tmp_path / "copy-1" / "log").read_text().splitlines() == ["imported", "described"]


def test_a_copy_that_dies_takes_nobody_with_it_and_its_end_is_told(make: Make, copy: Copy) -> None:
    host = make()
    assert isinstance(host, Host)
    first, second = copy(host), copy(host)
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="SIGKILL"):
        first.ask("describe")
    assert describe(second)["parent"] == os.getpid()
    assert describe(copy(host))["parent"] == os.getpid()


def test_a_host_that_dies_takes_nobody_with_it_and_cannot_be_copied_any_more(make: Make, copy: Copy) -> None:
    host = make()
    assert isinstance(host, Host)
    worker = copy(host)
    os.kill(host.process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="SIGKILL"):
        copy(host)
    assert not host.process.alive
    assert describe(worker)["parent"] == os.getpid()


def test_a_framework_that_leaves_threads_is_not_copied(make: Make) -> None:
    host = make(top="import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()")
    assert isinstance(host, Host)
    assert not host.copyable


def test_an_import_that_fails_leaves_a_reason_and_what_was_printed(make: Make) -> None:
    host = make(top="print('so far'); raise RuntimeError('no such library')")
    assert isinstance(host, NoHost)
    assert "no such library" in str(host.error)
    assert host.printed.startswith(b"so far")


def test_what_a_copy_has_started_is_ended_and_waited_for_with_it(make: Make, copy: Copy) -> None:
    body = "def describe(self):\n    import subprocess\n    return {'pid': subprocess.Popen(['sleep', '600']).pid}"
    host = make(body)
    assert isinstance(host, Host)
    worker = copy(host)
    grandchild = describe(worker)["pid"]
    worker.kill()
    assert not psutil.pid_exists(int(str(grandchild)))


def test_a_copy_dies_with_lockstep_also_while_it_is_stopped(tmp_path: Path, write_backend) -> None:
    backend = write_backend("spy", SPY, TOP)
    code = f"""
import sys, time, pathlib
from tests.benchmarks.worker.test_host import launch
from benchmarks.worker.host import import_framework
from benchmarks.worker.process import WorkerProcess
folder = pathlib.Path({str(tmp_path)!r})
own = launch(folder / "host")
host = import_framework(WorkerProcess(own), own, pathlib.Path({str(backend)!r}))
worker = WorkerProcess(launch(folder / "copy"), host.process)
worker.hello()
worker.pause()
print(host.process.pid, worker.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    end = time.perf_counter() + 10
    while any(map(lives, pids)) and time.perf_counter() < end:
        time.sleep(0.05)
    assert not any(map(lives, pids))


def test_a_copy_has_its_own_time_out(tmp_path: Path, make: Make, started: list[WorkerProcess]) -> None:
    host = make("def describe(self):\n    time.sleep(60)")
    assert isinstance(host, Host)
    worker = WorkerProcess(replace(launch(tmp_path / "copy"), budget=1.0), host.process)
    started.append(worker)
    worker.hello()
    with pytest.raises(WorkerError) as error:
        worker.ask("describe")
    assert error.value.status == "timeout"
    assert host.process.alive
