"""Counts what a framework compiles while the learning rate changes: ``python -m tests.backends.compiling NAME MODE``.

Runs in the framework's environment. Prints how many programs it had compiled after two calls of ``train``, and after
two more with other rates.
"""

import importlib
import sys
from collections.abc import Callable

import numpy as np

from backends.contract import Adam, Backend, Job, Linear, Model, ReLU

STEPS, BATCH = 4, 8


def of_jax() -> Callable[[], int]:
    """XLA tells each program that it has compiled, or found in its cache on disk."""
    import jax

    seconds: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: seconds.append(event) if event.endswith("backend_compile_duration") else None
    )
    return lambda: len(seconds)


def of_pytorch() -> Callable[[], int]:
    """Dynamo counts the graphs that it hands to the compiler."""
    from torch._dynamo.utils import counters

    return lambda: int(counters["stats"]["unique_graphs"])


COUNTERS = {"jax": of_jax, "pytorch": of_pytorch}


def backend_of(name: str) -> Backend:
    module = importlib.import_module(f"backends.{name}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Backend)]
    return next(kind for kind in kinds if kind is not Backend)()


def counts(name: str, mode: str) -> tuple[int, int]:
    """Programs that were compiled before the rates change, and after."""
    count, random = COUNTERS[name](), np.random.default_rng(0)
    model = Model((6,), (Linear(6, 5), ReLU(), Linear(5, 3)))
    shapes = {"0.weight": (5, 6), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
    weights = {key: random.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    backend = backend_of(name)
    adamw = Adam(0.1, 0.9, 0.999, 1e-8, 0.01, decoupled=True)
    backend.load(Job(model, "cross-entropy", adamw, mode, weights, scheduled=True))
    features = random.standard_normal((64, 6)).astype(np.float32)
    data = backend.put(features, random.integers(0, 3, 64).astype(np.int32))
    found = []
    for rates in (np.full(STEPS, 0.1), np.linspace(0.2, 0.01, STEPS)):
        for _ in range(2):
            backend.synchronize(backend.train(data, random.integers(0, 64, (STEPS, BATCH)), rates.astype(np.float32)))
        found.append(count())
    return found[0], found[1]


if __name__ == "__main__":
    print(*counts(sys.argv[1], sys.argv[2]))
