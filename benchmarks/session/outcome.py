"""The end of a session, wherever it ran: tables, summary, report, and the exit code."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console

from benchmarks.cell.kept_models import MODELS
from benchmarks.script.of_runs import of_runs
from benchmarks.session.exit_codes import OK, SOME_FAILED
from benchmarks.session.options import Options
from benchmarks.session.pasting import typed
from benchmarks.session.progress import TerminalProgress
from benchmarks.session.signals import Interrupted
from results import report, tables, terminal
from results.errors import DamagedStoreError, StoreError
from results.record import Run
from results.report.page import write
from results.store import Store


class AnySession(Protocol):
    """A session on this machine, or one on the machines of a cluster."""

    name: str
    runs: list[Run]
    progress: TerminalProgress

    def execute(self) -> None:
        """Run what is planned; every planned run has its row at the end, also if ``Interrupted`` is raised."""


def carry_out(session: AnySession, store: Store, options: Options, console: Console) -> int:
    """Execute a session and tell what came out, whatever its end; return the exit code."""
    try:
        try:
            session.execute()
        except Interrupted:
            _tell(session, store, options, console)
            raise
        _tell(session, store, options, console)
    except DamagedStoreError:
        raise
    except (StoreError, OSError) as error:
        reason = f"stopped: {error}; every run that has its row is kept, and the same command continues"
        console.print(reason, markup=False, highlight=False, soft_wrap=True)
        return SOME_FAILED
    return OK if all(run.status in ("ok", "unavailable") for run in session.runs) else SOME_FAILED


def _tell(session: AnySession, store: Store, options: Options, console: Console) -> None:
    """Write the tables and the report of a session, and print its summary."""
    session.progress.stop()
    tables.export(store)
    terminal.print_session(store, session.name, options.baseline, console)
    page = store.folder / report.PAGE
    results = report.read(store.folder, [session.name])
    write(results, page, options.baseline, scripts=of_runs(results.runs))
    console.print(f"report: {page}", markup=False, soft_wrap=True)
    if kept := [run.run for run in session.runs if run.models]:
        console.print(
            f"models: {store.folder / MODELS}; for example: "
            f"{typed('predict', kept[0], '--data', 'test', results=store.folder)}",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"results: {store.path} (also as CSV and Parquet beside it)", markup=False, soft_wrap=True)
