"""Replicas that are processes answer as one worker; whatever becomes of one, the parent is told, and none stays.

The launcher here is a few lines of Python, and gives every process a session of its own, as launchers do.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from backends.hosting import environments
from benchmarks.machine.processors import processors_for
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess
from tests.faults import helpers

LAUNCH = (
    "import os, subprocess, sys; "
    "children = [subprocess.Popen([sys.executable, *sys.argv[2:]], start_new_session=True, "
    "env=dict(os.environ, PLACE=str(place))) for place in range(int(sys.argv[1]))]; "
    "[child.wait() for child in children]"
)
LAUNCHER = f"launcher = ('{{python}}', '-c', {LAUNCH!r}, '{{replicas}}')\nplace = int(os.environ.get('PLACE', -1))\n"

Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path, write_backend) -> Iterator[Start]:
    started = []

    def start(body: str, top: str = "", replicas: int = 2, budget: float = 60, threads: int = 2) -> WorkerProcess:
        backend = environments.find(str(write_backend("replicated", LAUNCHER + textwrap.dedent(body), top)))
        environment, processors = worker_environment(threads), processors_for(threads)
        worker = WorkerProcess(
            Launch(
                Path(sys.executable),
                tmp_path,
                tmp_path / "log",
                environment,
                processors,
                budget,
                backend.arguments(replicas),
            )
        )
        started.append(worker)
        worker.hello()
        worker.ask("import", file=str(backend.path))
        return worker

    yield start
    for worker in started:
        worker.kill()


def gone(pids: list[int]) -> bool:
    """Whether none of the processes is alive, after a moment for the system."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if psutil.pid_exists(pid)]
        if all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in alive):
            return True
        time.sleep(0.05)
    return False


def pids_of(worker: WorkerProcess) -> list[int]:
    """The relay, the launcher and the replicas."""
    return [process.pid for process in psutil.Process(worker.pid).children(recursive=True)] + [worker.pid]


DESCRIBE = """
def describe(self):
    return {"place": self.place, "threads": int(os.environ["OMP_NUM_THREADS"])}
"""


def test_replicas_share_the_processors_and_the_threads_of_the_cell(start: Start) -> None:
    worker = start(DESCRIBE)
    processors = processors_for(2)
    assert sorted(own for _, own in worker.places) == [[processor] for processor in processors]
    assert len({pid for pid, _ in worker.places} | {worker.pid}) == 3
    answer = worker.ask("describe").values
    assert answer["affinity"] == processors
    assert answer["settings"]["threads"] == 2, "those of both"


def test_what_replicas_print_is_in_the_log(start: Start, tmp_path: Path) -> None:
    worker = start("", top="print('printed by ' + os.environ['PLACE'])")
    worker.close()
    log = (tmp_path / "log").read_text()
    assert "printed by 0" in log
    assert "printed by 1" in log


def test_one_replica_answers_for_all_and_memory_is_that_of_all(start: Start) -> None:
    worker = start("def parameters(self):\n    return {'a': np.arange(6, dtype=np.float32)}")
    (array,) = worker.ask("parameters").arrays
    np.testing.assert_array_equal(array, np.arange(6))
    peak = worker.ask("memory").values["peak"]
    assert peak > 1.5 * max(psutil.Process(pid).memory_info().rss for pid, _ in worker.places)


SLOWER_AND_SLOWER = """
def put(self, features, labels):
    return None
def train(self, data, batches):
    time.sleep(0.1 + 0.2 * self.place)
    return np.ones(len(batches), np.float32)
def synchronize(self, losses):
    return losses
"""


def test_a_window_of_training_ends_when_the_slowest_replica_is_done(start: Start, tmp_path: Path) -> None:
    worker = start(SLOWER_AND_SLOWER)
    file = str(tmp_path / "numbers.npy")
    np.save(file, np.arange(40).reshape(10, 4))
    worker.ask("put", name="train", features=file, labels=file, chunk=10)
    worker.ask("order", batches=file, last_batches=file)
    _, first, second, losses = worker.answers("train", start=0, steps=5, windows=[1, 2])
    assert first.seconds >= 0.2, "0.3, and a message may be seen late"
    assert second.seconds >= 0.4
    np.testing.assert_array_equal(losses.arrays[0], np.ones(15))
    assert worker.ask("memory").values["peak"], "no answer of the training is left"


@pytest.mark.parametrize("dying", [0, 1])
def test_a_replica_that_dies_fails_the_run_and_none_stays(start: Start, dying: int) -> None:
    worker = start(f"def describe(self):\n    os._exit(9) if self.place == {dying} else time.sleep(600)")
    pids = pids_of(worker)
    begin = time.monotonic()
    with pytest.raises(WorkerError, match=r"replica [01] of 2 ended before it answered") as error:
        worker.ask("describe")
    assert error.value.status == "failed"
    assert time.monotonic() - begin < 10, "the other one would have waited"
    worker.kill()
    assert gone(pids)


def test_what_the_launcher_says_of_a_dead_replica_is_in_the_log(start: Start, tmp_path: Path) -> None:
    """As msrun does, which looks once a second: it is the only one to know by which signal it ended."""
    watching = LAUNCH.replace(
        "[child.wait() for child in children]", "import time; children[1].wait(); time.sleep(1); print('it said', 9)"
    )
    launcher = f"launcher = ('{{python}}', '-c', {watching!r}, '{{replicas}}')"
    worker = start(f"{launcher}\ndef describe(self):\n    os._exit(9) if self.place else time.sleep(600)")
    with pytest.raises(WorkerError, match="of 2 ended before it answered"):
        worker.ask("describe")
    worker.kill()
    assert "it said 9" in (tmp_path / "log").read_text()


def test_a_replica_that_dies_while_nothing_is_asked_is_seen_by_the_next_request(start: Start) -> None:
    worker = start("")
    worker.pause()
    psutil.Process(worker.places[1][0]).kill()
    time.sleep(0.2)
    worker.resume()
    with pytest.raises(WorkerError, match="of 2 ended before it answered"):
        worker.ask("memory")


def test_an_error_in_one_replica_is_told_though_the_other_waits_for_it(start: Start) -> None:
    worker = start("def describe(self):\n    1 / 0 if self.place else time.sleep(600)")
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        worker.ask("describe")


def test_what_is_unavailable_can_be_asked_for_in_another_way(start: Start) -> None:
    body = """
    def describe(self):
        self.times = getattr(self, "times", 0) + 1
        if self.times == 1:
            from backends.contract import Unavailable
            raise Unavailable("no such device")
        return {}
    """
    worker = start(body)
    with pytest.raises(WorkerError, match="no such device") as error:
        worker.ask("describe")
    assert error.value.status == "unavailable"
    assert worker.ask("describe").values["settings"] == {}


def test_a_time_out_ends_all_of_them(start: Start) -> None:
    worker = start("def describe(self):\n    time.sleep(600)", budget=5)
    pids = pids_of(worker)
    with pytest.raises(WorkerError, match="time-out") as error:
        worker.ask("describe")
    assert error.value.status == "timeout"
    assert gone(pids)


def test_goodbye_leaves_none(start: Start) -> None:
    worker = start("")
    pids = pids_of(worker)
    assert len(pids) == 4
    worker.close()
    assert gone(pids)


def test_all_of_them_stand_still_while_others_have_the_turn(start: Start) -> None:
    top = "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()"
    worker = start("", top)
    worker.pause()
    time.sleep(0.05)
    before = worker.cpu_seconds()
    time.sleep(0.5)
    assert worker.cpu_seconds() == before
    worker.resume()
    time.sleep(0.5)
    assert worker.cpu_seconds() > before + 0.1


@pytest.mark.parametrize(
    ("launcher", "reason"),
    [("('no-such-launcher',)", "no-such-launcher: No such file"), ("('false',)", "ended with code 1, and 0 of 2")],
)
def test_a_launcher_that_does_not_work_is_told(tmp_path: Path, write_backend, launcher: str, reason: str) -> None:
    backend = environments.find(str(write_backend("unlaunched", f"launcher = {launcher}")))
    environment, processors = worker_environment(1), processors_for(1)
    worker = WorkerProcess(
        Launch(Path(sys.executable), tmp_path, tmp_path / "log", environment, processors, 60, backend.arguments(2))
    )
    with pytest.raises(WorkerError, match=reason):
        worker.hello()
    worker.kill()


def test_they_die_with_their_parent(tmp_path: Path, write_backend) -> None:
    """Also while they are stopped, and though the launcher gave them sessions of their own."""
    backend = write_backend("replicated", LAUNCHER)
    code = f"""
import sys, time, pathlib, psutil
from backends.hosting import environments
from benchmarks.machine.processors import processors_for
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Launch, WorkerProcess
folder = pathlib.Path({str(tmp_path)!r})
environment, processors = worker_environment(1), processors_for(1)
arguments = environments.find({str(backend)!r}).arguments(2)
launch = Launch(pathlib.Path(sys.executable), folder, folder / "log", environment, processors, 60, arguments)
worker = WorkerProcess(launch)
worker.hello()
pids = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]
worker.pause()
print(*pids, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 4
    parent.kill()
    parent.wait()
    assert gone(pids)


COPIES = LAUNCHER + textwrap.dedent("""
    def load(self, job):
        # The reference averages nothing: each replica trains whole batches.
        super().load(replace(job, replicas=1))

    def describe(self):
        return {**super().describe(), "replicas": 2}
    """)


def test_a_replica_that_dies_gives_a_failed_row_and_the_others_of_the_bench_are_ok(tmp_path: Path) -> None:
    dying = "def predict(self, data):\n    os._exit(3) if self.place else time.sleep(600)\n"
    helpers.write_backend(tmp_path, "first", COPIES + dying)
    helpers.write_backend(tmp_path, "second", COPIES)
    bench = helpers.Bench(tmp_path, repeats=1)
    code, output = bench.run("--replicas", "2")
    assert code == 1
    assert helpers.clean(output)
    first, second = bench.runs.sort_values("backend").to_dict("records")
    assert (first["status"], first["phase"]) == ("failed", "evaluate")
    assert "ended before it answered" in first["reason"]
    assert (second["status"], second["replicas"]) == ("ok", 2), second["reason"]
    assert workers_in(tmp_path) == []


def test_ctrl_c_ends_replicas_that_hang(tmp_path: Path) -> None:
    helpers.write_backend(tmp_path, "first", COPIES + "def predict(self, data):\n    time.sleep(600)\n")
    bench = helpers.Bench(tmp_path, backends=("first",), repeats=1)
    process = bench.start("--replicas", "2")
    helpers.wait_for(process, "no estimate")
    deadline = time.monotonic() + 60
    while len(workers_in(tmp_path)) < 4 and time.monotonic() < deadline:  # relay, launcher and two replicas
        time.sleep(0.1)
    assert len(workers_in(tmp_path)) == 4
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert helpers.clean(output)
    assert list(bench.runs["status"]) == ["interrupted"]
    assert workers_in(tmp_path) == []


def workers_in(folder: Path) -> list[int]:
    """Processes that work in a folder's scratch: the workers of a bench that was started there."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        cwd = process.info["cwd"] or ""
        if cwd.startswith(str(folder / "tmp")) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found
