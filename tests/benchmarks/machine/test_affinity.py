"""Threads that work get a processor each, in the order in which they were made, and are let go again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from benchmarks.machine.affinity import allowed, bind_busiest, release, thread_seconds

SPINNERS = """
import threading, time
def spin():
    while True:
        pass
for target in (spin, lambda: time.sleep(600), spin):
    threading.Thread(target=target, daemon=True).start()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def spinners() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", SPINNERS], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def places(pid: int) -> list[list[int]]:
    """Where each thread may run, in the order in which they were made."""
    return [sorted(os.sched_getaffinity(thread)) for thread in sorted(thread_seconds(pid))]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_the_threads_that_work_get_a_processor_each_until_they_are_released(spinners: int) -> None:
    processors = sorted(os.sched_getaffinity(0))[-2:]
    everywhere = places(spinners)[0]
    before = thread_seconds(spinners)
    time.sleep(0.5)
    assert bind_busiest(spinners, before, processors) == 2
    # the main thread and the third one sleep
    assert places(spinners) == [everywhere, [processors[0]], everywhere, [processors[1]]]
    assert allowed(spinners) == set(everywhere)
    release(spinners, processors)
    assert places(spinners) == [processors] * 4
    assert allowed(spinners) == set(processors)


def test_a_process_that_does_nothing_has_no_thread_to_bind() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        time.sleep(1)  # it has started
        assert bind_busiest(process.pid, thread_seconds(process.pid), [0]) == 0
        process.kill()


def test_a_process_that_has_ended_has_nothing_to_release() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    release(process.pid, [0])
