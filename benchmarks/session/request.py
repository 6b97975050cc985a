"""What a command asks for: experiments, backends and modes, read and checked before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.contract import Precision
from backends.hosting import environments
from backends.hosting.environments import BackendFile
from benchmarks.errors import InputError
from benchmarks.machine.processors import default_threads, processors_for
from benchmarks.session.options import Options
from benchmarks.spec import experiment as experiments
from benchmarks.spec.experiment import Experiment
from benchmarks.spec.sweep import Point, points
from results.baseline import BASELINE

if TYPE_CHECKING:
    from benchmarks.cell.materials import Start

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
    """For every framework; None is ``default_threads``."""
    precision: Precision = "float32"
    stock: bool = False
    """Whether to run without the tuning that an ordinary user does not have."""
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

    @property
    def label(self) -> str:
        """The experiment, and where in a sweep."""
        return f"{self.path.stem} {self.point.label}".strip()


@dataclass(frozen=True)
class Request:
    """All that a command asks for, read and checked, but nothing of it prepared yet."""

    variants: Sequence[Variant]
    modes: Sequence[tuple[BackendFile, str]]
    selection: Selection
    options: Options
    pythons: dict[str, str]


def read(selection: Selection, options: Options, pythons: dict[str, str]) -> Request | None:
    """Read and check what was selected; None if no experiment and mode fit.

    Raises InputError or BackendFileError.
    """
    variants = _variants(selection)
    modes = _modes(selection, on_request=not _are_plain(variants, selection))
    if not variants or not modes:
        return None
    if (planned := len(variants) * len(modes) * options.repeats) > LARGEST_PLAN:
        raise InputError(
            f"{planned:,} runs ({len(variants):,} experiments and points, {len(modes)} modes, {options.repeats} rounds)"
            f" are more than {LARGEST_PLAN:,}; sweep less, or name fewer"
        )
    cells_there = [(backend.name, mode) for backend, mode in modes]
    if options.baseline not in (BASELINE, *cells_there):
        names = ", ".join(" ".join(cell) for cell in cells_there)
        raise InputError(f"--baseline {' '.join(options.baseline)}: not among the configurations; there are {names}")
    return Request(variants, modes, selection, options, pythons)


def threads_of(variant: Variant, selection: Selection) -> int:
    """The number of threads of a variant's cells; raises InputError if there are not so many processors."""
    threads = variant.point.threads or selection.threads or default_threads()
    processors_for(threads)
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


def _are_plain(variants: Sequence[Variant], selection: Selection) -> bool:
    """Whether everything runs on the CPU as one replica: elsewhere, other modes may be the fastest."""
    on_cpu = selection.device == "cpu" or (selection.device == "auto" and not environments.has_nvidia_gpu())
    return on_cpu and all(variant.experiment.replicas == 1 for variant in variants)


def _modes(selection: Selection, on_request: bool) -> list[tuple[BackendFile, str]]:
    """The modes to run, backend by backend; a mode that no chosen backend has is an error.

    Without names, all of them are, those that wait for being named only if ``on_request``.
    """
    names = selection.backends or [name for name in environments.names() if name != "reference"]
    backends = [environments.find(name) for name in dict.fromkeys(names)]
    if twice := _first_repeated([backend.name for backend in backends]):
        raise InputError(f"--backend {twice}: there are two of this name; rename one of the files")
    known = {mode for backend in backends for mode in backend.modes}
    for mode in selection.modes:
        if mode not in known:
            raise InputError(f"--mode {mode}: no chosen backend has it; there are {', '.join(sorted(known))}")
    return [
        (backend, mode)
        for backend in backends
        for mode in backend.modes
        if mode in selection.modes or (not selection.modes and (on_request or mode not in backend.modes_on_request))
    ]


def left_out(request: Request) -> str:
    """What to tell of modes that were not named and wait for that; empty if there are none."""
    if request.selection.modes:
        return ""
    chosen = {backend.name: backend for backend, _ in request.modes}
    names = [
        f"{backend.name} {mode}"
        for backend in chosen.values()
        for mode in backend.modes_on_request
        if (backend, mode) not in request.modes
    ]
    if not names:
        return ""
    return f"left out, as another mode of theirs is faster everywhere: {', '.join(names)}; --mode names modes"


def _first_repeated(names: Sequence[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)
