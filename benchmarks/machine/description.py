"""What a timing depends on besides the code: the machine's processors, memory and GPUs, and what they do just now."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from backends.hosting.environments import FOLDER, IN_CLONE, has_nvidia_gpu
from benchmarks.machine.processors import physical_cores, processor_count

COMMIT = 12
"""Digits of a commit that tell it from others."""


def describe_machine() -> dict[str, Any]:
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


def lockstep_version() -> str:
    """The version of lockstep, in a clone with its commit, and whether files have been changed since."""
    version = importlib.metadata.version("lockstep")
    if not IN_CLONE:
        return version
    commit, changed = (_git(*command) for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno")))
    return version + (f" {commit[:COMMIT]}" if commit else "") + (" with changes" if changed else "")


def _git(*command: str) -> str:
    """What git says of lockstep's clone; nothing where there is no git, or no repository."""
    try:
        ended = subprocess.run(["git", *command], cwd=FOLDER.parent, capture_output=True, text=True)  # noqa: S607
    except OSError:
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def node_name() -> str:
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
