"""Timed windows are long enough, have what came before them behind them, and last as long as they say."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cell.timing import AIMED_WINDOW, CallLength, TimedWindows
from benchmarks.machine.processors import processor_count, processors_for
from benchmarks.worker.conversation import Conversation
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess
from results.record import Run, Window

STEPS, BATCH_SIZE = 5, 4

Windows = Callable[..., tuple[TimedWindows, Conversation, Run]]


@pytest.fixture
def windows(tmp_path: Path, write_backend) -> Iterator[Windows]:
    """Make the windows of a worker whose calls of train sleep, and whose losses are not finite where "breaks" says."""
    started: list[WorkerProcess] = []

    def make(train: str, threads: int = 1, bind: bool = True) -> tuple[TimedWindows, Conversation, Run]:
        body = f"""
        calls = 0
        def put(self, features, labels):
            return None
        def train(self, data, batches):
            {train}
            if os.path.exists("breaks"):
                Changed.calls += 1
                if str(Changed.calls) == open("breaks").read():
                    return np.full(len(batches), np.nan, np.float32)
            return np.ones(len(batches), np.float32)
        def synchronize(self, handle):
            return handle
        """
        environment, processors = worker_environment(threads), processors_for(threads)
        worker = WorkerProcess(Launch(Path(sys.executable), tmp_path, tmp_path / "log", environment, processors, 60))
        started.append(worker)
        worker.hello()
        worker.ask("import", file=str(write_backend("sleeping", body)))
        np.save(tmp_path / "batches.npy", np.zeros((50, BATCH_SIZE), np.int64))
        files = {name: str(tmp_path / "batches.npy") for name in ("features", "labels", "batches", "last_batches")}
        worker.ask("put", name="train", features=files["features"], labels=files["labels"], chunk=50)
        worker.ask("order", batches=files["batches"], last_batches=files["last_batches"])
        record = Run("s-1", "s", "digits", "sleeping", "numpy", "cpu", 1, 1)
        conversation = Conversation(worker, record, BATCH_SIZE, time.perf_counter())
        return TimedWindows(conversation, CallLength(STEPS), bind), conversation, record

    yield make
    for worker in started:
        worker.kill()


def of_kind(record: Run, kind: str) -> list[Window]:
    return [window for window in record.window_rows if window.kind == kind]


def test_a_window_of_several_calls_follows_a_lead_in_without_a_pause(windows: Windows) -> None:
    timed, conversation, record = windows("time.sleep(0.03)")
    timed.warm_up()
    assert timed.calls >= 2
    for turn in (1, 2):
        timed.take(turn)
    leads, ones = of_kind(record, "lead-in"), of_kind(record, "timed")
    assert [window.turn for window in leads] == [window.turn for window in ones] == [1, 2]
    for lead, one in zip(leads, ones, strict=True):
        assert (lead.steps, one.steps) == (STEPS, STEPS * timed.calls)
        assert one.samples == one.steps * BATCH_SIZE
        assert one.started == pytest.approx(lead.started + lead.seconds)
        assert one.seconds >= AIMED_WINDOW * 0.9
    assert timed.seconds == [window.seconds for window in ones]
    assert timed.cpu_per_wall < 0.5, "it sleeps"
    clock = conversation.clock.seconds
    assert clock["timed"] == pytest.approx(sum(timed.seconds), abs=leads[0].seconds), "the lead-ins are elsewhere"
    assert clock["warm_up"] > sum(window.seconds for window in leads)


def test_a_window_of_one_call_has_no_lead_in_and_lasts_as_long_as_the_call(windows: Windows) -> None:
    timed, _, record = windows("time.sleep(0.2)")
    timed.warm_up()
    timed.take(1)
    assert timed.calls == 1
    assert not of_kind(record, "lead-in")
    assert [window.steps for window in of_kind(record, "timed")] == [STEPS]
    assert 0.1 <= timed.seconds[0] < 0.4, "one call, not two; a message may be seen late"


def test_a_pause_of_the_machine_does_not_make_windows_too_short(windows: Windows) -> None:
    """The second call of train is the one after which windows seem to be long enough, however short they are."""
    timed, _, record = windows("time.sleep(0.3 if Changed.calls == 1 else 0.01); Changed.calls += 1")
    timed.warm_up()
    timed.take(1)
    assert of_kind(record, "warm-up")[1].seconds >= 2 * AIMED_WINDOW
    assert timed.seconds[0] >= AIMED_WINDOW * 0.9


def test_a_message_that_is_seen_late_does_not_make_windows_too_long(windows: Windows) -> None:
    """The second call of train is the one that tells how many a window needs."""
    timed, _, record = windows("time.sleep(0.0001 if Changed.calls == 1 else 0.01); Changed.calls += 1")
    timed.warm_up()
    timed.take(1)
    seemed = max(window.seconds for window in of_kind(record, "warm-up"))
    assert seemed >= 2 * AIMED_WINDOW, "some 60 times on a quiet machine"
    assert AIMED_WINDOW * 0.9 <= timed.seconds[0] < 4 * AIMED_WINDOW


@pytest.mark.skipif(processor_count() < 2, reason="needs two processors")
def test_threads_that_do_far_worse_in_places_of_their_own_lose_them_again(windows: Windows) -> None:
    busy = "end = time.perf_counter() + 0.1\n            while time.perf_counter() < end: pass\n"
    timed, _, record = windows(f"{busy}            while len(os.sched_getaffinity(0)) < 2: time.sleep(0.01)", threads=2)
    timed.warm_up()
    timed.take(1)
    assert timed.bound_threads == 0
    assert max(window.seconds for window in of_kind(record, "warm-up")) >= 0.9
    assert timed.seconds[0] < 0.5


@pytest.mark.skipif(processor_count() < 2, reason="needs two processors")
@pytest.mark.parametrize("bind", [True, False], ids=["tuned", "stock"])
def test_the_thread_that_works_has_a_processor_of_its_own_unless_it_is_stock(windows: Windows, bind: bool) -> None:
    busy = "end = time.perf_counter() + 0.1\n            while time.perf_counter() < end: pass"
    timed, conversation, _ = windows(busy, threads=2, bind=bind)
    timed.warm_up()
    (pid, processors), *_ = conversation.worker.places
    assert len(os.sched_getaffinity(pid)) == (1 if bind else len(processors))
    assert (timed.bound_threads > 0) == bind, "another thread may have had a tick of processor time"


@pytest.mark.parametrize("call", [1, 2], ids=["lead-in", "window"])
def test_a_loss_that_is_not_finite_ends_the_run(windows: Windows, tmp_path: Path, call: int) -> None:
    timed, _, _ = windows("time.sleep(0.03)")
    timed.warm_up()
    (tmp_path / "breaks").write_text(str(call))
    with pytest.raises(WorkerError, match="the training loss is nan in a timed window after the last epoch") as error:
        timed.take(1)
    assert error.value.status == "diverged"


def test_a_call_that_takes_long_is_made_shorter_once_it_is_not_the_first_of_its_length() -> None:
    length = CallLength(full_steps=25)
    length.learn(25, 30 * AIMED_WINDOW)
    assert length.steps == 25, "it may have been compiled"
    length.learn(25, 10 * AIMED_WINDOW)
    assert length.steps == 2, "a tenth, and one step is left over at the end of an epoch"
    length.learn(2, AIMED_WINDOW)
    length.learn(2, AIMED_WINDOW)
    assert length.steps == 2


def test_a_call_that_is_quick_or_was_learned_before_stays() -> None:
    length = CallLength(full_steps=312)
    for _ in range(2):
        length.learn(50, AIMED_WINDOW)
    assert length.steps == 50
    assert CallLength(full_steps=312, steps=4).steps == 4


def test_a_call_of_a_large_model_is_short_from_the_beginning() -> None:
    assert CallLength(full_steps=125, step_flops=2.5e8).steps == 5, "a divisor: 50 steps would take 0.25 s"
    assert CallLength(full_steps=125, step_flops=1e7).steps == 50
    assert CallLength(full_steps=125, steps=25, step_flops=2.5e8).steps == 25, "it has been learned"


def test_a_shorter_call_leaves_at_most_one_step_over() -> None:
    for full_steps in range(2, 120):
        length = CallLength(full_steps)
        steps = length.steps
        for _ in range(2):
            length.learn(steps, 7 * AIMED_WINDOW)
        assert length.steps <= max(1, steps // 7)
        assert full_steps % length.steps <= 1
