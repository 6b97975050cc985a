"""The Dask cluster whose machines run a plan: which one is meant, who is there, and how to hand work to it."""

from __future__ import annotations

import json
import logging
import re
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import InputError

if TYPE_CHECKING:
    from benchmarks.cluster.worker import Introduction

RESOURCE = "lockstep"
"""What a Dask worker has one of, if it is there for lockstep: it gets one part of a plan at a time."""

TIMEOUT = 10.0
"""Seconds that the scheduler may take to answer."""

FIRST_WORKER = 5.0
"""Seconds that the first worker may take to be there."""

QUIET = Path(__file__).with_name("dask.yaml")
"""Dask's configuration beside a bench, where $DASK_CONFIG is to point."""

START_A_WORKER = "dask worker ADDRESS --nthreads 1 --resources lockstep=1"

NEVER = "1000 days"
"""Dask closes the place of a worker on this machine for good if it looks so long after a death and finds nobody there,
which is also so while it starts the worker again that died a second time."""

_ADDRESS = re.compile(r"[\w.-]+:\d{1,5}")


@dataclass
class Machines:
    """A connection to a cluster, with what its workers say of themselves, by their addresses."""

    client: Any
    introductions: dict[str, Introduction]

    @property
    def nodes(self) -> list[str]:
        """What the machines are called; some may have several workers."""
        return sorted({introduction.node for introduction in self.introductions.values()})

    def workers(self) -> list[str]:
        """The addresses of the workers that are there for lockstep now."""
        return _workers(self.client)


def need_dask() -> None:
    """Raise InputError if Dask is not installed: it is an extra."""
    if find_spec("distributed") is None:
        raise InputError(
            "--cluster: Dask is not installed here; 'nox -s bench -- --cluster ...' installs it, and so does "
            "'uv sync --extra cluster' for 'uv run lockstep run --cluster ...'"
        )


@contextmanager
def connected(text: str, threads: Sequence[int] = ()) -> Iterator[Machines]:
    """Connect to the cluster that a user names, for a ``with`` block.

    ``text`` is the address of a scheduler, the path of a scheduler file, or "local:2" for a cluster of two workers on
    this machine, which ends with the block. ``threads`` are the numbers of threads that are asked for. Raises
    InputError if there is no such cluster, if it has no workers for lockstep, or if they have another version of it or
    too few processors.
    """
    for name in ("distributed", "distributed.client"):  # what matters is told in our own words
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        client = _local(text, stack) if text.startswith("local:") else _remote(text, stack)
        addresses = _first_workers(text, client)
        yield Machines(client, _introduced(text, client, addresses, threads))


def _local(text: str, stack: ExitStack) -> Any:
    """Start workers on this machine."""
    import dask
    from distributed import Client, LocalCluster

    number = text.removeprefix("local:")
    if not re.fullmatch(r"[1-9]\d?", number):
        raise InputError(f"--cluster {text}: write local:N, with N from 1 to 99")
    stack.enter_context(dask.config.set(dask.config.merge(dask.config.config, *dask.config.collect_yaml([str(QUIET)]))))
    stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": NEVER}))
    # A Ctrl-C in a terminal reaches the workers as well, who would be gone before they have said what they have done.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cluster = LocalCluster(
            n_workers=int(number),
            threads_per_worker=1,
            resources={RESOURCE: 1},
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    stack.callback(cluster.close, timeout=10)
    return stack.enter_context(Client(cluster))


def _remote(text: str, stack: ExitStack) -> Any:
    """Connect to a scheduler that is there."""
    from distributed import Client

    address = text if "://" in text else _address(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other versions of packages that a worker has
            return stack.enter_context(Client(address, timeout=TIMEOUT))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"--cluster {text}: no Dask scheduler answers there: {_first_line(error)}") from None


def _address(text: str) -> str:
    """The address in a scheduler file, or the one that was meant."""
    path = Path(text)
    if not path.is_file():
        if _ADDRESS.fullmatch(text):
            return f"tcp://{text}"
        raise InputError(
            f"--cluster {text}: no such file; give the address of a Dask scheduler, such as tcp://host:8786, "
            "its scheduler file, or local:2"
        )
    try:
        return str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"--cluster {text}: is not a scheduler file: 'dask scheduler --scheduler-file' makes one"
        ) from None


def _first_workers(text: str, client: Any) -> list[str]:
    """The workers for lockstep, as soon as there is one."""
    deadline = time.monotonic() + FIRST_WORKER
    while not (found := _workers(client)):
        if time.monotonic() > deadline:
            others = len(client.scheduler_info(n_workers=-1)["workers"])
            raise InputError(
                f"--cluster {text}: no worker has the resource {RESOURCE!r} ({others} have not); start one on each "
                f"machine with '{START_A_WORKER}'"
            )
        time.sleep(0.2)
    return found


def _workers(client: Any) -> list[str]:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return [address for address, worker in workers.items() if worker["resources"].get(RESOURCE)]


def _introduced(text: str, client: Any, addresses: list[str], threads: Sequence[int]) -> dict[str, Introduction]:
    """What the workers say of themselves; raises InputError if they cannot run what is asked for."""
    from benchmarks.cluster.worker import code_version, introduce

    found = {}
    for address, answer in client.run(introduce, workers=addresses, on_error="return").items():
        if isinstance(answer, BaseException):
            raise InputError(
                f"--cluster {text}: worker {address} cannot use lockstep of the same version: {_first_line(answer)}"
            )
        if answer.version != code_version():
            raise InputError(
                f"--cluster {text}: worker {address} has lockstep {answer.version}, and here it is {code_version()}: "
                "install the same on all machines"
            )
        found[address] = answer
    most = max(introduction.processors for introduction in found.values())
    if threads and max(threads) > most:
        raise InputError(
            f"--threads {max(threads)}: no machine of the cluster lets lockstep use more than {most} processors"
        )
    return found


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
