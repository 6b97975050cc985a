"""A worker answers requests; whatever it does instead, the parent gets a status and a reason in time."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.machine.processors import processors_for
from benchmarks.session.signals import Interrupted
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess

Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def start(budget: float = 60, processors: list[int] | None = None) -> WorkerProcess:
        environment = worker_environment(1)
        where = processors or processors_for(1)
        worker = WorkerProcess(Launch(Path(sys.executable), tmp_path, tmp_path / "log", environment, where, budget))
        started.append(worker)
        worker.hello()
        return worker

    yield start
    for worker in started:
        worker.kill()


def failure(worker: WorkerProcess, what: str, **arguments: object) -> WorkerError:
    with pytest.raises(WorkerError) as error:
        worker.ask(what, **arguments)
    return error.value


def test_a_worker_holds_no_package_of_the_parents_and_is_bound_to_its_processors(start: Start, write_backend) -> None:
    processors = processors_for(1)
    worker = start(processors=processors)
    path = write_backend(
        "spy",
        """
        def describe(self):
            import importlib.util
            seen = [name for name in ("benchmarks", "results", "tests") if name in sys.modules]
            return {"seen": seen, "path": sys.path}
        """,
    )
    worker.ask("import", file=str(path))
    answer = worker.ask("describe").values
    assert answer["settings"]["seen"] == []
    assert not any(Path(entry, "jax.py").exists() for entry in answer["settings"]["path"]), "it would hide jax"
    assert answer["affinity"] == processors


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "failed", "SIGSEGV"),
        ("os._exit(7)", "failed", "code 7"),
        ("raise ValueError('no such thing')", "failed", "ValueError: no such thing"),
        ("from backends.contract import Unavailable; raise Unavailable('no device')", "unavailable", "no device"),
        ("time.sleep(60)", "timeout", "time-out"),
        ("os.write(int(sys.argv[1]), b'garbage!' * 9); time.sleep(60)", "failed", "not readable"),
    ],
)
def test_every_way_to_fail_ends_with_a_status_and_a_reason(
    start: Start, write_backend, body: str, status: str, reason: str
) -> None:
    worker = start(budget=3)
    worker.ask("import", file=str(write_backend("broken", f"def describe(self):\n    {body}")))
    begin = time.perf_counter()
    error = failure(worker, "describe")
    assert error.status == status
    assert reason in str(error)
    assert time.perf_counter() - begin < 10


def test_half_a_message_is_ended_by_the_time_out(start: Start, write_backend) -> None:
    worker = start(budget=2)
    body = "def describe(self):\n    os.write(int(sys.argv[1]), (1000).to_bytes(4, 'big') + b'half'); time.sleep(60)"
    worker.ask("import", file=str(write_backend("broken", body)))
    assert failure(worker, "describe").status == "timeout"


@pytest.mark.parametrize("moment", ["start", "cancel"])
def test_a_signal_at_the_watchdog_leaves_no_thread_that_the_exit_waits_for(
    start: Start, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    worker, before = start(), set(threading.enumerate())

    def interrupted(timer: threading.Timer) -> None:
        if moment == "start":
            threading.Thread.start(timer)
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(threading.Timer, moment, interrupted)
    with pytest.raises(Interrupted):
        worker.ask("describe")
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if not thread.daemon] == []


def test_what_a_worker_prints_is_in_the_log_and_disturbs_nothing(start: Start, tmp_path: Path, write_backend) -> None:
    worker = start()
    worker.ask("import", file=str(write_backend("loud", "", top="print('to stdout'); os.write(2, b'to stderr')")))
    worker.kill()
    assert "to stdout" in (log := (tmp_path / "log").read_text())
    assert "to stderr" in log


def test_a_backend_that_lacks_a_method_is_refused_by_name(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "short.py"
    path.write_text("from backends.contract import Backend\nclass Short(Backend):\n    modes = {}\n    devices = ()\n")
    assert "predict" in str(failure(start(), "import", file=str(path)))


def test_the_whole_process_tree_is_ended(start: Start, write_backend) -> None:
    worker = start()
    top = "import subprocess\nCHILD = subprocess.Popen(['sleep', '600'], start_new_session=True)"
    body = "def describe(self):\n    return {'child': CHILD.pid}"
    worker.ask("import", file=str(write_backend("parent", body, top)))
    child = worker.ask("describe").values["settings"]["child"]
    worker.kill()
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert not psutil.pid_exists(worker.pid)


def test_a_paused_worker_takes_no_processor_time(start: Start, write_backend) -> None:
    worker = start()
    top = "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()"
    worker.ask("import", file=str(write_backend("spinning", "", top)))
    worker.pause()
    before = worker.cpu_seconds()
    time.sleep(0.5)
    assert worker.cpu_seconds() == before
    worker.resume()
    time.sleep(0.5)
    assert worker.cpu_seconds() > before + 0.1
    assert worker.paused_cpu_seconds == 0


def test_the_answers_time_is_seen_from_the_parent(start: Start, write_backend) -> None:
    worker = start()
    worker.ask("import", file=str(write_backend("slow", "def describe(self):\n    time.sleep(0.3); return {}")))
    assert 0.3 <= worker.ask("describe").seconds < 1


def ready_to_train(worker: WorkerProcess, folder: Path, backend: Path) -> None:
    """Give it the order of ten batches of four samples, with their numbers in place of data."""
    file = str(folder / "numbers.npy")
    np.save(file, np.arange(40).reshape(10, 4))
    worker.ask("import", file=str(backend))
    worker.ask("put", name="train", features=file, labels=file, chunk=10)
    worker.ask("order", batches=file, last_batches=file)


TRAINS = """
calls = 0
def put(self, features, labels):
    return None
def train(self, data, batches):
    Changed.calls += 1
    time.sleep(0.2)
    if Changed.calls == 4:
        raise ValueError("no such thing")
    return time.perf_counter()
def synchronize(self, moment):
    return np.array([moment])
"""


def test_training_is_answered_when_it_begins_and_after_each_window_without_a_pause(
    start: Start, write_backend, tmp_path: Path
) -> None:
    worker = start()
    ready_to_train(worker, tmp_path, write_backend("slow", TRAINS))
    begin = time.perf_counter()
    answers = []
    for answer in worker.answers("train", start=8, steps=1, windows=[1, 2]):
        answers.append(answer)
        if len(answers) == 2:
            time.sleep(0.8)
            asked_for_the_second = time.perf_counter()
    began, first, second, losses = answers
    assert began.began >= begin
    for one, following in pairwise(answers):
        assert following.began == pytest.approx(one.began + one.seconds)
    assert [answer.values for answer in answers] == [{"arrays": number} for number in (0, 0, 0, 1)]
    (moments,) = losses.arrays
    assert moments[2] < asked_for_the_second, "it did not wait for the parent"
    assert second.began + second.seconds > moments[2] > second.began > moments[0] > first.began


LAZY = """
def put(self, features, labels):
    return None
def train(self, data, batches):
    return None
def synchronize(self, handle):
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            time.sleep(0.3)
            return np.ones(1, np.float32)
    return Lazy()
"""


@pytest.mark.parametrize(("what", "arguments"), [("train", {"start": 0, "steps": 1}), ("train_last", {"epoch": 0})])
def test_losses_that_are_waited_for_when_they_are_read_are_waited_for_within_the_window(
    start: Start, write_backend, tmp_path: Path, what: str, arguments: dict[str, int]
) -> None:
    worker = start()
    ready_to_train(worker, tmp_path, write_backend("lazy", LAZY))
    _, window, losses = worker.answers(what, **arguments)
    assert window.seconds >= 0.2, "a message may be seen late"
    np.testing.assert_array_equal(losses.arrays[0], [1])


def test_an_answer_that_is_waited_for_is_timed_from_the_request_on(start: Start, write_backend, tmp_path: Path) -> None:
    worker = start()
    ready_to_train(worker, tmp_path, write_backend("slow", TRAINS))
    begin = time.perf_counter()
    answer = worker.ask("train", start=0, steps=1, windows=[1, 2])
    assert begin <= answer.began < begin + 0.6 <= answer.began + answer.seconds <= time.perf_counter()
    assert len(answer.arrays[0]) == 3


def test_of_the_windows_of_a_training_the_first_that_fails_is_told(start: Start, write_backend, tmp_path: Path) -> None:
    worker = start()
    ready_to_train(worker, tmp_path, write_backend("broken", TRAINS))
    answers = worker.answers("train", start=0, steps=1, windows=[2, 1, 1])
    assert [next(answers).arrays for _ in range(3)] == [[], [], []]
    with pytest.raises(WorkerError, match="no such thing"):
        next(answers)


def test_a_worker_dies_with_its_parent(tmp_path: Path, write_backend) -> None:
    """Also while it is stopped: nothing may be left behind when the parent is killed."""
    import subprocess

    code = f"""
import sys, time, pathlib
from benchmarks.machine.processors import processors_for
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Launch, WorkerProcess
folder = pathlib.Path({str(tmp_path)!r})
environment, processors = worker_environment(1), processors_for(1)
worker = WorkerProcess(Launch(pathlib.Path(sys.executable), folder, folder / "log", environment, processors, 60))
worker.hello()
worker.pause()
print(worker.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    worker = int(parent.stdout.readline())
    assert psutil.pid_exists(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_arrays_come_back_as_they_were_sent(start: Start, write_backend) -> None:
    worker = start()
    arrays = "{'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.ones(0, np.float32)}"
    body = f"def parameters(self):\n    return {arrays}"
    worker.ask("import", file=str(write_backend("arrays", body)))
    answer = worker.ask("parameters")
    assert answer.values["names"] == ["a", "b"]
    np.testing.assert_array_equal(answer.arrays[0], [[0, 1, 2], [3, 4, 5]])
    assert answer.arrays[1].shape == (0,)


def test_what_a_step_frees_stays_in_the_process_unless_the_user_says_otherwise(
    start: Start, write_backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies on top of the heap, from where glibc would give it back; only the first step gets it from the system."""
    body = """
    def describe(self):
        import resource
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            memory = [bytes(100_000) for _ in range(300)]
            del memory
        return {"faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}
    """
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    faults = []
    for threshold in (None, "131072"):
        for name in names:
            monkeypatch.delenv(name, raising=False)
            if threshold:
                monkeypatch.setenv(name, threshold)
        worker = start()
        worker.ask("import", file=str(write_backend("allocating", body)))
        faults.append(worker.ask("describe").values["settings"]["faults"])
    kept, given_back = faults
    assert kept < 100 < 1000 < given_back
