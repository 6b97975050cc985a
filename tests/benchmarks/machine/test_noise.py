"""What disturbs the workers is measured: a busy neighbour is seen, the workers themselves are not counted."""

from __future__ import annotations

import multiprocessing
import time

import psutil

from benchmarks.machine.noise import NoiseWatch, processor_settings


def _spin() -> None:
    while True:
        pass


def test_a_busy_neighbour_is_seen_and_a_busy_worker_is_not_counted() -> None:
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        spinner = psutil.Process(process.pid)
        while sum(spinner.cpu_times()[:2]) < 0.3:  # it has been started, and spins
            time.sleep(0.05)
        before = sum(spinner.cpu_times()[:2])
        as_neighbour, as_worker = NoiseWatch(0.0), NoiseWatch(before)
        time.sleep(1)
        own = sum(spinner.cpu_times()[:2])
        neighbour, worker = as_neighbour.end(0.0), as_worker.end(own)
    finally:
        process.kill()
        process.join()
    used = own - before
    assert neighbour.others_per_wall > 0.5 * used
    assert worker.others_per_wall < neighbour.others_per_wall - 0.5 * used


def test_the_settings_are_plain_values() -> None:
    settings = processor_settings()
    assert isinstance(settings["governors"], list)
    assert settings["boost"] in (True, False, None)
