"""The commands that say what there is, and begin something new: list, schema, new-backend."""

from __future__ import annotations

import keyword
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.errors import InputError


def list_() -> None:
    """List experiments, backends with their modes and environments, and devices; imports no framework."""
    from rich.console import Console

    from benchmarks.machine.description import cpu_name, gpu_names
    from benchmarks.machine.processors import physical_cores
    from benchmarks.spec import experiment as experiments

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print("experiments:")
    width = max(map(len, experiments.names()))
    for name in experiments.names():
        experiment = experiments.load(experiments.find(name))
        mark = "" if experiment.default else " (not in the default set)"
        console.print(f"  {name:{width}} {experiment.description}{mark}")
    console.print("backends:")
    interpreters = Interpreters({}, console.print)
    for name in environments.names():
        backend = environments.find(name)
        given = interpreters.given(backend)
        made = "made" if environments.is_ready(backend) else "not made yet"
        console.print(f"  {name:22} environment: {given or made}; devices: {', '.join(backend.devices)}")
        for mode, description in backend.modes.items():
            mark = " (waits for --mode: another one is faster)" if mode in backend.modes_on_request else ""
            console.print(f"    {mode:20} {description}{mark}")
    console.print("devices:")
    cores = len(physical_cores())
    console.print(f"  cpu                    {cpu_name()}, {cores} physical cores")
    for gpu in gpu_names():
        console.print(f"  gpu                    {gpu}")


def schema() -> None:
    """Print the JSON Schema of an experiment file, which editors use to complete and check it."""
    from benchmarks.spec import experiment as experiments

    sys.stdout.write(experiments.json_schema())


def new_backend(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the backend, a Python identifier.")],
) -> None:
    """Write NAME.py into this folder: a backend's file, with a message in every method that says what to write."""
    path = Path(f"{name}.py")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"new-backend {name}: the name has to be a Python identifier, such as my_framework")
    if path.exists() or name in environments.names():
        raise InputError(f"new-backend {name}: there is a {path} already; take another name")
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "NewBackend"
    path.write_text((environments.FOLDER / "skeleton.txt").read_text().replace("CLASS_NAME", class_name))
    check = shlex.join(["nox", "-s", "check", "--", str(path.absolute())])
    print(f"{path} written (see {environments.FOLDER}/README.md); now make this pass: {check}")
