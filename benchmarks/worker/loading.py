"""How a worker gets a model: on the first device that is available."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backends.contract import SGD, Input, Loss, Model, Precision, model_to_json
from benchmarks.worker.process import WorkerError


def load(
    ask: Callable[..., Any],
    devices: Sequence[str],
    model: Model,
    loss: Loss,
    sgd: SGD,
    parameters: Path,
    mode: str,
    input: Input = "resident",
    precision: Precision = "float32",
    replicas: int = 1,
) -> str:
    """Have a worker load a model whose parameters are in a safetensors file; return the device that took it.

    ``ask`` passes the arguments of the request "load" on to the worker. Raises WorkerError if the worker fails, or with
    status "unavailable" if none of the devices is available.
    """
    device, *others = devices
    try:
        ask(
            model=model_to_json(model),
            loss=loss,
            sgd=asdict(sgd),
            parameters=str(parameters),
            device=device,
            mode=mode,
            input=input,
            precision=precision,
            replicas=replicas,
        )
    except WorkerError as error:
        if others and error.status == "unavailable":
            return load(ask, others, model, loss, sgd, parameters, mode, input, precision, replicas)
        raise
    return device
