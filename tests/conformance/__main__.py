"""``python -m tests.conformance NAME``: run the conformance kit, and print the rungs of each mode."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.hosting import environments
from backends.hosting.environments import BackendFileError, EnvironmentFailed, Interpreters
from benchmarks.commands.options import pythons_given
from benchmarks.errors import InputError
from tests.conformance.kit import Kit, Report

SOME_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Backend by name, or by the path of its file.")],
    mode: Annotated[list[str] | None, typer.Option(metavar="MODE", help="Mode; repeatable; default: all.")] = None,
    device: Annotated[Literal["cpu", "gpu"], typer.Option(help="Where the models are trained.")] = "cpu",
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Interpreter instead of an environment of the backend's own."),
    ] = None,
) -> None:
    """Take each mode of a backend through the contract and say which rungs hold.

    Exit code: 0 if all of them hold, 1 if not, 2 for bad input.
    """
    console = Console(highlight=False)
    backend = environments.find(name)
    modes = mode or list(backend.modes)
    for chosen in modes:
        if chosen not in backend.modes:
            raise InputError(f"--mode {chosen}: {backend.name} has {', '.join(backend.modes)}")
    interpreters = Interpreters(pythons_given(python or [], [name]), console.print)
    path = interpreters.path(backend)
    reports = []
    with tempfile.TemporaryDirectory(prefix="lockstep-") as folder:
        with console.status("the reference trains the examples"):
            made = Kit(Path(folder))
        with made as kit:
            for chosen in modes:
                with console.status(f"{backend.name} {chosen}: the workers train the examples"):
                    reports.append(kit.check(backend, path, chosen, device))
                show(f"{backend.name} {chosen}", reports[-1], console)
    if not all(report.holds for report in reports):
        raise typer.Exit(SOME_FAILED)


def show(title: str, report: Report, console: Console) -> None:
    """Print the rungs of one mode, with advice below those that do not hold."""
    console.print(f"\n{title}", style="bold", markup=False)
    rows = Table.grid(padding=(0, 2, 0, 0))
    for rung in report.rungs:
        finding = rung.finding
        mark = Text("ok", "green") if finding.holds else Text("FAIL", "bold red")
        advice = "" if finding.holds else f"\n{finding.advice}".rstrip()
        rows.add_row("", mark, rung.name, Text(finding.figure + advice))
    console.print(rows)
    held = sum(rung.finding.holds for rung in report.rungs)
    console.print(f"{held} of {len(report.rungs)} rungs hold ({report.seconds:.0f} s)", markup=False)


def main() -> None:
    """Run the command; every foreseen error is one line on stderr."""
    try:
        code = app(standalone_mode=False) or 0
    except typer.TyperException as error:
        code = fail(error.format_message(), BAD_INPUT)
    except (InputError, BackendFileError) as error:
        code = fail(str(error), BAD_INPUT)
    except EnvironmentFailed as error:
        code = fail(str(error), SOME_FAILED)
    except (KeyboardInterrupt, typer.Abort):
        code = fail("interrupted", INTERRUPTED)
    sys.exit(code)


def fail(message: str, code: int) -> int:
    """Print one line to stderr and return the code."""
    print(f"check: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
