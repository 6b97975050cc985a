"""The command that writes an experiment as a program of its framework's users: script."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from backends.hosting import environments
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
) -> None:
    """Write an experiment as a plain program of one framework, which runs without lockstep and confirms its figures."""
    from benchmarks.cell.materials import check
    from benchmarks.machine.processors import default_threads, processors_for
    from benchmarks.script.exact import write_files
    from benchmarks.script.rendering import Script, render
    from benchmarks.script.samples import rows_of
    from benchmarks.spec import experiment as experiments

    if exact and not output:
        raise InputError("script --exact: its files are written beside the script; say where with --output FILE")
    if output:
        _check_place(output)
    used = environments.find(backend)
    if mode and mode not in used.modes:
        raise InputError(f"script --mode {mode}: {used.name} has {', '.join(used.modes)}")
    processors_for(threads or 1)
    overrides: dict[str, Any] = {"epochs": epochs, "seed": seed}
    path = experiments.find(name)
    experiment = experiments.load(path, {key: value for key, value in overrides.items() if value is not None})
    rows, classes = rows_of(experiment, path.parent)
    sizes = {part: len(chosen) for part, chosen in rows.items()}
    check(path.stem, experiment, sizes["train"], classes, None)
    made = Script(
        path.stem,
        experiment,
        sizes,
        classes,
        used,
        mode or next(iter(used.modes)),
        threads or default_threads(),
        exact,
        language,
        output.name if output else "",
    )
    program = render(made)
    if not output:
        sys.stdout.write(program)
        return
    if output.stem in _imported(program):
        raise InputError(f"script --output {output}: the script imports a module of this name; take another one")
    files = write_files(made, rows, output.parent) if exact else []
    output.write_text(program, encoding="utf-8")
    for written in [output, *files]:
        print(f"{os.path.relpath(written)} written")
    print(f"run it: uv run {os.path.relpath(output)}")


def _check_place(output: Path) -> None:
    if output.is_dir():
        raise InputError(f"script --output {output}: this is a folder; name a file")
    if output.exists():
        raise InputError(f"script --output {output}: there is such a file already; take another name")
    if not output.parent.is_dir():
        raise InputError(f"script --output {output}: there is no folder {output.parent}")


def _imported(program: str) -> set[str]:
    """Modules that a script of their name would be imported in place of: its own, and the standard library's."""
    names = set(sys.stdlib_module_names)
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
