"""From what the user asked for to the rows: select the cells, prepare what they share, run them, write the tables."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from backends import environments
from backends.contract import Precision
from backends.environments import BackendFile, Interpreters
from benchmarks import experiment as experiments
from benchmarks import machine
from benchmarks.dask_cluster import need_dask
from benchmarks.errors import InputError
from benchmarks.experiment import Experiment
from benchmarks.kept_models import MODELS
from benchmarks.materials import Materials, Start, draw, prepare_data
from benchmarks.plan import Cell
from benchmarks.preview import PlannedComparison, Preview
from benchmarks.progress import TerminalProgress
from benchmarks.resume import asked, claim
from benchmarks.session import Options, Session
from benchmarks.signals import Interrupted
from benchmarks.sweep import Point, points
from results import report, tables, terminal
from results.record import Run
from results.statistics import BASELINE
from results.store import DamagedStoreError, Store, StoreError

OK, SOME_FAILED, NOTHING_SELECTED = 0, 1, 3
LARGEST_PLAN = 100_000
"""Runs of one command."""


@dataclass(frozen=True)
class Selection:
    """What the user asked for; an empty list means all of the default set."""

    experiments: Sequence[str] = ()
    backends: Sequence[str] = ()
    modes: Sequence[str] = ()
    device: str = "auto"
    threads: int | None = None
    """For every framework; None is ``machine.default_threads``."""
    precision: Precision = "float32"
    overrides: dict[str, Any] = field(default_factory=dict)
    sweeps: Sequence[str] = ()
    """Each as "key=value,value"."""
    start: Start | None = None
    """Weights to start from instead of drawn ones."""

    @property
    def asked(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(replace(self, start=None)), "start": self.start.hash if self.start else ""}


@dataclass(frozen=True)
class Variant:
    """An experiment at one point of the sweep."""

    path: Path
    experiment: Experiment
    point: Point


@dataclass(frozen=True)
class Request:
    """All that a command asks for, read and checked, but nothing of it prepared yet."""

    variants: Sequence[Variant]
    modes: Sequence[tuple[BackendFile, str]]
    selection: Selection
    options: Options
    pythons: dict[str, str]


class AnySession(Protocol):
    """A session on this machine, or one on the machines of a cluster."""

    name: str
    runs: list[Run]
    progress: TerminalProgress

    def execute(self) -> None:
        """Run what is planned; every planned run has its row at the end, also if ``Interrupted`` is raised."""


def bench(
    selection: Selection,
    options: Options,
    pythons: dict[str, str],
    results: Path,
    console: Console,
    dry_run: bool = False,
    cluster: str | None = None,
) -> int:
    """Run the selected cells, or with ``dry_run`` only say what would be run; return the exit code.

    ``cluster`` names a Dask cluster whose machines run them, as ``dask_cluster.connected`` takes it; without it, this
    machine does. Raises InputError, DataError or BackendFileError before anything is run or written, if the input is
    bad.
    """
    variants = _variants(selection)
    modes = _modes(selection)
    if not variants or not modes:
        console.print("nothing selected: no experiment and mode fit the arguments", markup=False)
        return NOTHING_SELECTED
    if (planned := len(variants) * len(modes) * options.repeats) > LARGEST_PLAN:
        raise InputError(
            f"{planned:,} runs ({len(variants):,} experiments and points, {len(modes)} modes, {options.repeats} rounds)"
            f" are more than {LARGEST_PLAN:,}; sweep less, or name fewer"
        )
    cells_there = [(backend.name, mode) for backend, mode in modes]
    if options.baseline not in (BASELINE, *cells_there):
        names = ", ".join(" ".join(cell) for cell in cells_there)
        raise InputError(f"--baseline {' '.join(options.baseline)}: not among the cells; there are {names}")
    store = Store(results)
    store.check()
    wanted = {**selection.asked, "cluster": True} if cluster is not None else selection.asked
    what = asked(wanted, options.measured, options.rounds)
    if cluster is not None:
        need_dask()
        from benchmarks.cluster_session import on_cluster  # which imports it

        return on_cluster(cluster, Request(variants, modes, selection, options, pythons), what, store, console, dry_run)
    if dry_run:
        _preview(variants, modes, selection, options, what).show(Interpreters(pythons, console.print), store, console)
        return OK
    with (
        TerminalProgress(console, options.log_every) as progress,
        tempfile.TemporaryDirectory(prefix="lockstep-") as scratch,
    ):
        interpreters = Interpreters(pythons, progress.message)
        request = Request(variants, modes, selection, options, pythons)
        cells = prepare_cells(request, interpreters, Path(scratch))
        warn_of_code(modes, progress)
        with claim(store, what, options.fresh) as name:
            session = Session(name, cells, options, interpreters, Path(scratch), store, progress)
            return carry_out(session, store, options, console)


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
    report.write(report.read(store.folder, [session.name]), page, options.baseline)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
    if kept := [run.run for run in session.runs if run.models]:
        console.print(
            f"models: {store.folder / MODELS}; for example: lockstep predict {kept[0]} --data test",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"results: {store.path} (also as CSV and Parquet beside it)", markup=False, soft_wrap=True)


def _preview(
    variants: Sequence[Variant],
    modes: list[tuple[BackendFile, str]],
    selection: Selection,
    options: Options,
    what: str,
) -> Preview:
    comparisons = [
        PlannedComparison(variant.path, variant.point.label, variant.experiment, _threads(variant, selection))
        for variant in variants
    ]
    return Preview(
        comparisons,
        modes,
        selection.device,
        selection.precision,
        selection.asked["start"],
        options.repeats,
        what,
        options.measured,
        options.fresh,
    )


def _threads(variant: Variant, selection: Selection) -> int:
    """The number of threads of a variant's cells; raises InputError if there are not so many processors."""
    threads = variant.point.threads or selection.threads or machine.default_threads()
    machine.processors_for(threads)
    return threads


def _variants(selection: Selection) -> list[Variant]:
    """The experiments that were named, or those that a bench without names runs, at every point of the sweep."""
    paths = [experiments.find(name) for name in dict.fromkeys(selection.experiments or experiments.names())]
    if twice := _first_repeated([path.stem for path in paths]):
        raise InputError(f"experiment {twice}: there are two of this name; rename one of the files")
    variants = [
        Variant(path, experiments.load(path, {**selection.overrides, **point.overrides}), point)
        for path in paths
        for point in points(selection.sweeps)
    ]
    return [variant for variant in variants if selection.experiments or variant.experiment.default]


def _modes(selection: Selection) -> list[tuple[BackendFile, str]]:
    """The modes to run, backend by backend; a mode that no chosen backend has is an error."""
    names = selection.backends or [name for name in environments.names() if name != "reference"]
    backends = [environments.find(name) for name in dict.fromkeys(names)]
    if twice := _first_repeated([backend.name for backend in backends]):
        raise InputError(f"--backend {twice}: there are two of this name; rename one of the files")
    known = {mode for backend in backends for mode in backend.modes}
    for mode in selection.modes:
        if mode not in known:
            raise InputError(f"--mode {mode}: no chosen backend has it; there are {', '.join(sorted(known))}")
    return [(backend, mode) for backend in backends for mode in backend.modes if mode in (selection.modes or known)]


def _first_repeated(names: Sequence[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def prepare_cells(request: Request, interpreters: Interpreters, scratch: Path) -> list[Cell]:
    """Prepare what the cells of each variant share, on the machine that will run them, and return all cells.

    Raises InputError, DataError or BackendFileError.
    """
    selection = request.selection
    for backend, _ in request.modes:
        interpreters.given(backend)
    cells = []
    for number, variant in enumerate(request.variants):
        threads = _threads(variant, selection)  # before the work of preparing
        materials = _materials(variant, selection.start, interpreters, scratch / f"materials-{number}")
        cells += [
            Cell(materials, backend, mode, selection.device, threads, selection.precision)
            for backend, mode in request.modes
        ]
    return cells


def warn_of_code(modes: Sequence[tuple[BackendFile, str]], progress: TerminalProgress) -> None:
    """Name the backends that did not come with lockstep."""
    for path in dict.fromkeys(backend.path for backend, _ in modes):
        if path.parent != environments.FOLDER:
            progress.message(f"{path} is code that runs with your rights")


def _materials(variant: Variant, start: Start | None, interpreters: Interpreters, folder: Path) -> Materials:
    """Prepare what the cells of a variant share."""
    path, experiment = variant.path, variant.experiment
    data = prepare_data(experiment, path.parent, interpreters)
    if data.classes:
        try:
            experiment.check_outputs(len(data.classes))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
    return draw(path.stem, experiment, data, folder, variant.point.label, start)
