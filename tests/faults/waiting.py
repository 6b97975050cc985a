"""Replicas that wait long for their turn: a launcher with a heartbeat would take them for dead."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from backends.hosting import environments
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.cell.materials import Materials, draw, prepare_data
from benchmarks.machine.processors import processors_for
from benchmarks.spec import experiment as experiments
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.loading import load
from benchmarks.worker.process import Launch, WorkerError, WorkerProcess
from tests.faults.helpers import Outcome

STOPPED, AFTERWARDS = 45, 10
"""Seconds; MindSpore's heartbeat would end its replicas after half a minute."""


def replicas_that_wait(folder: Path) -> Outcome:
    """Two replicas each of MindSpore and PyTorch are stopped for longer than heartbeats allow, and train on."""
    interpreters = Interpreters({}, print)
    path = experiments.find("digits-mlp")
    experiment = experiments.load(path)
    data = prepare_data(experiment, path.parent, interpreters)
    digits = draw("digits-mlp", experiment, data, folder / "materials")
    backends = [environments.find(name) for name in ("mindspore", "pytorch")]
    workers = [_worker(backend, interpreters, folder / backend.name) for backend in backends]
    try:
        for worker, backend in zip(workers, backends, strict=True):
            _get_ready(worker, backend, digits)
            worker.pause()
        time.sleep(STOPPED)
        for worker in workers:
            worker.resume()
        time.sleep(AFTERWARDS)
        trained = [np.isfinite(worker.ask("train", start=0, steps=5).arrays[0]).all() for worker in workers]
    except WorkerError as error:
        return Outcome(str(error), None, "", held=False)
    finally:
        for worker in workers:
            worker.kill()
    return Outcome("they train on", None, "4 replicas", all(trained))


def _worker(backend: BackendFile, interpreters: Interpreters, folder: Path) -> WorkerProcess:
    folder.mkdir()
    python, processors = interpreters.path(backend), processors_for(2)
    return WorkerProcess(
        Launch(python, folder, folder / "log", worker_environment(2), processors, 300, backend.arguments(2))
    )


def _get_ready(worker: WorkerProcess, backend: BackendFile, digits: Materials) -> None:
    """Have it train once."""
    worker.hello()
    worker.ask("import", file=str(backend.path))
    ask, mode = partial(worker.ask, "load"), next(iter(backend.modes))
    load(ask, ["cpu"], replace(digits.job(mode), replicas=2), digits.parameters)
    data = digits.data
    files = {"features": str(data.features("train")), "labels": str(data.labels("train"))}
    worker.ask("put", name="train", chunk=data.sizes["train"], **files)
    worker.ask("order", batches=str(digits.batches), last_batches=str(digits.last_batches))
    worker.ask("train", start=0, steps=5)


FAULTS = {"replicas that wait for 45 s": replicas_that_wait}
