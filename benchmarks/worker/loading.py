"""How a worker gets its job: on the first device that is available."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.contract import Job, job_to_json
from benchmarks.worker.process import WorkerError


def load(ask: Callable[..., Any], devices: Sequence[str], job: Job, parameters: Path) -> str:
    """Have a worker load a job, with the parameters in a safetensors file; return the device that took it.

    ``ask`` passes the arguments of the request "load" on to the worker. Raises WorkerError if the worker fails, or with
    status "unavailable" if none of the devices is available.
    """
    device, *others = devices
    try:
        ask(job=job_to_json(replace(job, device=device)), parameters=str(parameters))
    except WorkerError as error:
        if others and error.status == "unavailable":
            return load(ask, others, job, parameters)
        raise
    return device
