"""``python -m tests.conformance NAME``: run the conformance kit, and print the rungs of each mode."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
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
from results.overview import duration
from tests.conformance.findings import Rung
from tests.conformance.kit import Kit, Report
from tests.conformance.recording import TIMEOUT

SOME_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

WIDTHS = (0, 4, 23, None)
"""Of the columns of a rung: indentation, mark, name, and what was found."""

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
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one process may work.")] = TIMEOUT,
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
            made = Kit(Path(folder), timeout=timeout)
        with made as kit:
            for chosen in modes:
                title = f"{backend.name} {chosen}"
                show_title(title, console)
                with console.status(f"{title}: the workers train the examples"):
                    reports.append(
                        kit.check(
                            backend,
                            path,
                            chosen,
                            device,
                            tell=partial(show_rung, console=console),
                            expect=partial(show_time, console=console),
                        )
                    )
                show_sum(reports[-1], console)
    if not all(report.holds for report in reports):
        raise typer.Exit(SOME_FAILED)


def show(title: str, report: Report, console: Console) -> None:
    """Print the rungs of one mode."""
    show_title(title, console)
    for rung in report.rungs:
        show_rung(rung, console)
    show_sum(report, console)


def show_title(title: str, console: Console) -> None:
    """Print what the mode is called."""
    console.print(f"\n{title}", style="bold", markup=False)


def show_rung(rung: Rung, console: Console) -> None:
    """Print a rung, with advice below it if it does not hold."""
    finding = rung.finding
    mark = Text("ok", "green") if finding.holds else Text("FAIL", "bold red")
    advice = "" if finding.holds else f"\n{finding.advice}".rstrip()
    row = Table.grid(padding=(0, 2, 0, 0))
    for width in WIDTHS:
        row.add_column(width=width)
    row.add_row("", mark, rung.name, Text(finding.figure + advice))
    console.print(row)


def show_time(seconds: float, console: Console) -> None:
    """Print how long the rest of a mode will take."""
    console.print(f"about {duration(seconds)} left for this mode", style="dim", markup=False, highlight=False)


def show_sum(report: Report, console: Console) -> None:
    """Print how many rungs hold."""
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
