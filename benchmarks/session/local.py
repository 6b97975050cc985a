"""A request that this machine carries out: prepare what its cells share, run them, or say what would be run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import Materials, Start, draw, prepare_data
from benchmarks.cell.plan import Cell
from benchmarks.session.exit_codes import OK
from benchmarks.session.outcome import carry_out
from benchmarks.session.preview import preview
from benchmarks.session.progress import TerminalProgress
from benchmarks.session.request import Request, Variant, left_out, threads_of
from benchmarks.session.resume import claim
from benchmarks.session.session import Session
from results.store import Store


def on_this_machine(request: Request, what: str, store: Store, console: Console, dry_run: bool) -> int:
    """Run what is requested, or with ``dry_run`` only say what would be run; return the exit code.

    ``what`` is the hash under which the same request is continued. Raises InputError, DataError or BackendFileError
    before anything is run or written, if the input is bad.
    """
    if dry_run:
        preview(request, what, store, console)
        return OK
    options = request.options
    with (
        TerminalProgress(console, options.log_every) as progress,
        tempfile.TemporaryDirectory(prefix="lockstep-") as scratch,
    ):
        interpreters = Interpreters(request.pythons, progress.message, options.offline)
        cells = prepare_cells(request, interpreters, Path(scratch))
        tell_of_modes(request, progress)
        with claim(store, what, options.fresh) as name:
            session = Session(name, cells, options, interpreters, Path(scratch), store, progress)
            return carry_out(session, store, options, console)


def prepare_cells(request: Request, interpreters: Interpreters, scratch: Path) -> list[Cell]:
    """Prepare what the cells of each variant share, on the machine that will run them, and return all cells.

    Raises InputError, DataError or BackendFileError.
    """
    selection = request.selection
    for backend, _ in request.modes:
        interpreters.given(backend)
    cells = []
    told = set()
    for number, variant in enumerate(request.variants):
        threads = threads_of(variant, selection)  # before the work of preparing
        materials = _materials(variant, selection.start, interpreters, scratch / f"materials-{number}")
        if (text := f"{variant.path.stem}: {materials.data.description}") not in told:
            told.add(text)
            interpreters.tell(text)
        cells += [
            Cell(materials, backend, mode, selection.device, threads, selection.precision, selection.stock)
            for backend, mode in request.modes
        ]
    return cells


def tell_of_modes(request: Request, progress: TerminalProgress) -> None:
    """Name the backends that did not come with lockstep, the modes that do not run, and what training starts from."""
    for path in dict.fromkeys(backend.path for backend, _ in request.modes):
        if path.parent != environments.FOLDER:
            progress.message(f"{path} is code that runs with your rights")
    if text := left_out(request):
        progress.message(text)
    if start := request.selection.start:
        progress.message(f"weights from {start.label}; the optimizer begins anew")


def _materials(variant: Variant, start: Start | None, interpreters: Interpreters, folder: Path) -> Materials:
    """Prepare what the cells of a variant share."""
    path, experiment = variant.path, variant.experiment
    data = prepare_data(experiment, path.parent, interpreters)
    return draw(path.stem, experiment, data, folder, variant.point.label, start)
