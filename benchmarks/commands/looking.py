"""The commands that look at results: table, runs, log, exclude, report, plot."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from benchmarks.commands.options import Results
from benchmarks.errors import InputError
from benchmarks.session.pasting import RESULTS, typed
from results.baseline import BASELINE
from results.errors import StoreError

if TYPE_CHECKING:
    from results import report


def table(
    format_: Annotated[
        Literal["csv", "json", "markdown", "parquet"] | None,
        typer.Option(
            "--format",
            help="Every column as CSV, JSON or Parquet, the main ones as Markdown; default: a terminal table.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file instead of the terminal.")
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="Print the newest session, one row per configuration with its verdict, as Markdown."
        ),
    ] = False,
    results: Results = RESULTS,
) -> None:
    """Show the newest session, a table per comparison; with --format or --output every run, one row each."""
    from rich.console import Console

    from results import report, tables, terminal
    from results.markdown import summary
    from results.store import Store

    store = Store(results)
    if store.runs().empty:
        raise InputError(f"{results}: no results there yet; 'lockstep run' makes some, --results names another folder")
    if markdown:
        newest = report.read(results)
        sys.stdout.write(summary(newest.runs, newest.windows))
        return
    if not format_ and not output:
        newest = report.read(results)
        terminal.print_details(newest.runs, newest.windows, BASELINE, Console())
        return
    runs = tables.runs_table(store)
    if output:
        tables.write(runs, format_ or "csv", output)
    elif format_ == "parquet":
        raise InputError("--format parquet: it is not text; add --output FILE")
    elif format_:
        sys.stdout.write(tables.text(runs, format_))


def runs(results: Results = RESULTS) -> None:
    """List the sessions of a results folder: their names, how their runs ended, and what was typed."""
    from rich.console import Console

    from results import report, terminal

    terminal.print_sessions(report.every_run(results), Console())


def log(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, as in 'lockstep table --format csv'.")],
    results: Results = RESULTS,
) -> None:
    """Show the log of a run: what its process printed, the framework's messages among it."""
    from results import report

    name = str(_found(results, "log", run)["log"])
    path = report.log_path(results, name)
    if path is None:
        raise InputError(f"log {run}: No such file in {results / 'logs'}: {name}")
    sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))


def explain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, as in 'lockstep table --format csv'.")],
    results: Results = RESULTS,
) -> None:
    """Say how near a run came to the reference, rung by rung, and where its losses part from it."""
    from results.proof.explanation import explained

    for line in explained(_found(results, "explain", run)):
        print(line)


def exclude(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, as in 'lockstep table --format csv'.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, which tables and reports give.")],
    results: Results = RESULTS,
) -> None:
    """Leave a run out of tables and ratios from now on; its row stays in the store, with the reason."""
    if not why.strip():
        raise InputError(f"exclude {run}: --why is empty; say what was wrong with it")
    if reason := _found(results, "exclude", run)["excluded"]:
        raise InputError(f"exclude {run}: it is excluded already: {reason}")
    from results.store import Store

    Store(results).exclude([run], why.strip())
    print(f"{run} is excluded; this writes the report without it: {typed('report', results=results)}")


def _found(results: Path, command: str, run: str) -> dict[str, Any]:
    """The row of a run; raises InputError if there is none."""
    from results import report

    runs = report.every_run(results)
    rows = runs[runs["run"] == run].to_dict("records")
    if not rows:
        raise InputError(f"{command} {run}: no such run in {results}; the newest are {', '.join(runs['run'][-3:])}")
    return {str(name): value for name, value in rows[0].items()}


Sessions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Session, as in 'lockstep runs'; repeatable; default: the newest."),
]


def report_(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR [DIR]]", help="Results folder; two of them are put side by side."),
    ] = None,
    session: Sessions = None,
    baseline: Annotated[
        tuple[str, str], typer.Option(metavar="BACKEND MODE", help="What ratios are taken against at first.")
    ] = BASELINE,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: report.html in the folder, differences.html in the second of two."),
    ] = None,
    language: Annotated[Literal["en", "zh"], typer.Option(help="English or Chinese.")] = "en",
    results: Results = RESULTS,
) -> None:
    """Write the report: one HTML page that needs no network."""
    if folders and results != RESULTS:
        raise InputError(f"report: --results {results}, and {folders[0]} without it; name a folder once")
    given = folders or [results]
    if len(given) > 2:
        raise InputError(f"report: {len(given)} folders; one makes a report, two are put side by side")
    if len(given) == 2 and session:
        raise InputError("report: --session picks from one folder; two folders are compared by their newest sessions")
    from benchmarks.script.of_runs import of_runs
    from results import report
    from results.report import differences, page

    read = [report.read(folder, session or ()) for folder in given]
    path = output or given[-1] / (report.PAGE if len(given) == 1 else "differences.html")
    if len(given) == 1:
        page.write(read[0], path, baseline, language, of_runs(read[0].runs, language))
    else:
        differences.write(read[0], read[1], path, language)
    print(f"report: {path}")


def plot(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHART|EXPERIMENT]...",
            help="Charts such as speed, default: all; experiments are put together into one picture per chart.",
        ),
    ] = None,
    format_: Annotated[Literal["svg", "png"], typer.Option("--format", help="Vector or pixel graphics.")] = "svg",
    session: Sessions = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the pictures; default: plots in the results folder.")
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Draw the report's charts as pictures, one file for each chart and comparison."""
    from rich.console import Console

    from results import report, terminal
    from results.report import pictures

    charts = [name for name in names or () if name in pictures.NAMES]
    chosen = [name for name in names or () if name not in pictures.NAMES]
    folder = output or results / "plots"
    if chosen:
        found = _experiments(results, chosen, session or ())
        drawn = pictures.draw_together(found, folder, format_, charts)
    else:
        drawn = pictures.draw(report.read(results, session or ()), folder, format_, charts)
    for path in drawn:
        print(path)
    if chosen:
        titles = found.runs["panel"].map(dict(enumerate(found.titles)))
        terminal.print_experiments(found.runs.assign(title=titles), Console())


def _experiments(results: Path, names: list[str], sessions: Sequence[str]) -> report.Results:
    from results import report
    from results.report import pictures

    try:
        return report.read_experiments(results, names, sessions)
    except StoreError as error:
        raise InputError(f"plot: {error}; the charts are {', '.join(pictures.NAMES)}") from None
