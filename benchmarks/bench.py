"""From what the user asked for to the rows: select the cells, prepare what they share, run them, write the tables."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from backends import environments
from backends.environments import BackendFile, Interpreters
from benchmarks import experiment as experiments
from benchmarks.data import prepare
from benchmarks.errors import InputError
from benchmarks.experiment import Experiment
from benchmarks.materials import Materials, draw
from benchmarks.plan import Cell
from benchmarks.progress import TerminalProgress
from benchmarks.session import Options, Session
from results import tables, terminal
from results.store import Store

OK, SOME_FAILED, NOTHING_SELECTED = 0, 1, 3


@dataclass(frozen=True)
class Selection:
    """What the user asked for; an empty list means all of the default set."""

    experiments: Sequence[str] = ()
    backends: Sequence[str] = ()
    modes: Sequence[str] = ()
    device: str = "auto"
    overrides: dict[str, Any] = field(default_factory=dict)


def bench(selection: Selection, options: Options, pythons: dict[str, str], results: Path, console: Console) -> int:
    """Run the selected cells and return the exit code.

    Raises InputError, DataError or BackendFileError before anything is run or written, if the input is bad.
    """
    chosen = _experiments(selection)
    modes = _modes(selection)
    if not chosen or not modes:
        console.print("nothing selected: no experiment and mode fit the arguments", markup=False)
        return NOTHING_SELECTED
    store = Store(results)
    with TerminalProgress(console) as progress, tempfile.TemporaryDirectory(prefix="lockstep-") as scratch:
        interpreters = Interpreters(pythons, progress.message)
        for backend, _ in modes:
            interpreters.given(backend)
        materials = [_materials(path, chosen[path], interpreters, Path(scratch)) for path in chosen]
        cells = [Cell(item, backend, mode, selection.device) for item in materials for backend, mode in modes]
        session = Session(cells, options, interpreters, store, progress)
        try:
            session.execute(Path(scratch))
        finally:
            progress.stop()
            if session.runs:
                tables.export(store)
                terminal.print_summary(tables.summary_table(store.runs(session.name)), console)
                console.print(
                    f"results: {store.path} (also as CSV and Parquet beside it)", markup=False, soft_wrap=True
                )
    return OK if all(run.status in ("ok", "unavailable") for run in session.runs) else SOME_FAILED


def _experiments(selection: Selection) -> dict[Path, Experiment]:
    """The experiments that were named, or those that a bench without names runs."""
    if selection.experiments:
        return {
            path: experiments.load(path, selection.overrides) for path in map(experiments.find, selection.experiments)
        }
    loaded = {path: experiments.load(path, selection.overrides) for path in map(experiments.find, experiments.names())}
    return {path: experiment for path, experiment in loaded.items() if experiment.default}


def _modes(selection: Selection) -> list[tuple[BackendFile, str]]:
    """The modes to run, backend by backend; a mode that no chosen backend has is an error."""
    names = selection.backends or [name for name in environments.names() if name != "reference"]
    backends = [environments.find(name) for name in dict.fromkeys(names)]
    known = {mode for backend in backends for mode in backend.modes}
    for mode in selection.modes:
        if mode not in known:
            raise InputError(f"--mode {mode}: no chosen backend has it; there are {', '.join(sorted(known))}")
    return [(backend, mode) for backend in backends for mode in backend.modes if mode in (selection.modes or known)]


def _materials(path: Path, experiment: Experiment, interpreters: Interpreters, scratch: Path) -> Materials:
    data = prepare(
        experiment.data,
        experiment.validation,
        path.parent,
        torchvision_python=lambda: interpreters.path(environments.find("pytorch")),
    )
    if data.classes:
        try:
            experiment.check_outputs(len(data.classes))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
    return draw(path.stem, experiment, data, scratch / f"{path.stem}-materials")
