"""The command that writes an experiment as a program of its framework's users: script."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.commands.options import Offline
from benchmarks.errors import InputError


def script(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name from 'lockstep list', or path of a file.")],
    backend: Annotated[str, typer.Option(metavar="NAME", help="The framework: a backend by name.")],
    mode: Annotated[str | None, typer.Option(metavar="MODE", help="Mode of it; default: its first one.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it here, where no file is yet; default: standard output."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Begin with lockstep's weights and take its batches, from files beside --output."),
    ] = False,
    language: Annotated[Literal["en", "zh"], typer.Option(help="Of the comments.")] = "en",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set; default: the experiment's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches; default: the experiment's.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: physical cores, less one.")] = None,
    offline: Offline = False,
) -> None:
    """Write an experiment as a plain program of one framework, which runs without lockstep and confirms its figures."""
    from benchmarks.cell.materials import check, prepare_data
    from benchmarks.machine.processors import default_threads, processors_for
    from benchmarks.script.exact import write_files
    from benchmarks.script.rendering import Script, render
    from benchmarks.spec import experiment as experiments

    if exact and not output:
        raise InputError("script --exact: its files are written beside the script; say where with --output FILE")
    if output and output.exists():
        raise InputError(f"script --output {output}: there is such a file already; take another name")
    if output and not output.parent.is_dir():
        raise InputError(f"script --output {output}: there is no folder {output.parent}")
    used = environments.find(backend)
    if mode and mode not in used.modes:
        raise InputError(f"script --mode {mode}: {used.name} has {', '.join(used.modes)}")
    processors_for(threads or 1)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)  # standard output is the program's
    overrides: dict[str, Any] = {"epochs": epochs, "seed": seed}
    path = experiments.find(name)
    experiment = experiments.load(path, {key: value for key, value in overrides.items() if value is not None})
    data = prepare_data(experiment, path.parent, Interpreters({}, _tell, offline=offline))
    check(path.stem, experiment, data.sizes["train"], data.classes, None)
    made = Script(
        path.stem,
        experiment,
        data.sizes,
        data.classes,
        used,
        mode or next(iter(used.modes)),
        threads or default_threads(),
        exact,
        language,
    )
    program = render(made)
    if not output:
        sys.stdout.write(program)
        return
    files = write_files(made, output.parent) if exact else []
    output.write_text(program, encoding="utf-8")
    for written in [output, *files]:
        print(f"{os.path.relpath(written)} written")
    print(f"run it: uv run {os.path.relpath(output)}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
