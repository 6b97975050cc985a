"""The machine that a bench runs on: its description, its processors, and what a worker's process is allowed to use."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from backends.contract import THREAD_VARIABLES
from backends.environments import has_nvidia_gpu
from benchmarks.errors import InputError

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc: what a step frees is not given back to the system, to be asked for again by the next step.

By default that depends on what a process happened to allocate before: the same step of JAX had between none and 47 page
faults. 32 MiB is the largest threshold that glibc takes (mallopt(3)).
"""


def describe() -> dict[str, Any]:
    """Facts that a timing depends on, as plain JSON values."""
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": len(physical_cores()),
        "processors": processor_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpu_names(),
    }


def node() -> str:
    """What this machine is called in a cluster: its host name, and four digits that tell it from others of that name.

    Processes in different network namespaces of one machine get the same name. The digits are a hash of the system's
    own identity, which outlives a restart where ``/etc/machine-id`` is there.
    """
    identities = [Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")]
    known = [text for path in identities if path.exists() and (text := path.read_text().strip())]
    return f"{platform.node()}-{hashlib.sha256(''.join(known[:1]).encode()).hexdigest()[:4]}"


def cpu_name() -> str:
    """The processor's model name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpu_names() -> list[str]:
    """Names of the NVIDIA GPUs that the driver lists; empty without a driver."""
    return [line[0] for line in _nvidia_smi("name")]


def gpu_state() -> list[dict[str, float]]:
    """For each GPU: clocks of its processors and of its memory in MHz, power in W, temperature in degrees Celsius."""
    keys = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
    states = []
    for values in _nvidia_smi(*keys):
        # What a GPU does not tell is "[N/A]".
        known = {key: value for key, value in zip(keys, values, strict=True) if value[:1].isdigit()}
        states.append({key: float(value) for key, value in known.items()})
    return states


def _nvidia_smi(*keys: str) -> list[list[str]]:
    """Ask the driver for some values of every GPU; no GPU if there is no driver."""
    if not has_nvidia_gpu():
        return []
    command = ["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader,nounits"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = listing.stdout.splitlines() if listing.returncode == 0 else []
    return [[value.strip() for value in line.split(",")] for line in lines if line.strip()]


def physical_cores() -> list[int]:
    """One processor number for each physical core that this process may use."""
    cores: dict[str, int] = {}
    for processor in _allowed():
        siblings = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else str(processor), processor)
    return sorted(cores.values())


def processor_count() -> int:
    """The processors that this process may use."""
    return len(_allowed())


def default_threads() -> int:
    """One thread for each physical core but one, which is left to the parent process and to the system.

    Without a free core, every wait of a framework's threads for each other is at the mercy of what else has to run.
    """
    return max(1, len(physical_cores()) - 1)


def processors_for(threads: int) -> list[int]:
    """The processors that workers with this many threads are bound to: different physical cores first, the last ones.

    The first core is the busiest with the system's own work. Raises InputError if there are not so many.
    """
    allowed, cores = _allowed(), physical_cores()
    if threads > len(allowed):
        raise InputError(
            f"--threads {threads}: this machine lets lockstep use {len(allowed)} processors; ask for at most that"
        )
    others = [processor for processor in allowed if processor not in cores]
    return sorted((cores[::-1] + others)[:threads])


def worker_environment(threads: int) -> dict[str, str]:
    """The environment variables of a worker: the user's own, less Python's, with one number of threads for all.

    Freed memory stays in every process, too, unless the user has set the allocator otherwise.
    """
    kept = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }
    return {**KEEP_FREED_MEMORY, **kept, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
