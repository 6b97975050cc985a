"""The plan of a bench that is not run: what would run, what is there already, and how long it would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from backends.contract import Precision
from backends.hosting import environments
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.cell.materials import check_size
from benchmarks.data.prepare import find_prepared
from benchmarks.machine.description import describe_machine
from benchmarks.session import resume
from benchmarks.session.estimate import estimate
from benchmarks.spec.experiment import Experiment
from results.store import Store


@dataclass(frozen=True)
class PlannedComparison:
    """An experiment at one point of a sweep, with its threads: the cells of all modes are compared."""

    path: Path
    point: str
    experiment: Experiment
    threads: int

    @property
    def label(self) -> str:
        """The experiment, and where in a sweep."""
        return f"{self.path.stem} {self.point}".strip()


@dataclass(frozen=True)
class Preview:
    """What ``show`` needs to know of a bench; ``asked`` and ``measured`` are those of ``benchmarks.session.resume``."""

    comparisons: Sequence[PlannedComparison]
    modes: Sequence[tuple[BackendFile, str]]
    device: str
    precision: Precision
    start: str
    """The hash of the weights to start from; empty if they are drawn."""
    repeats: int
    asked: str
    measured: dict[str, Any]
    fresh: bool

    def show(self, interpreters: Interpreters, store: Store, console: Console) -> None:
        """Print the plan. Nothing is written, made or downloaded; raises InputError as the bench itself would."""
        interrupted = [] if self.fresh else store.unfinished(self.asked)
        rows = store.runs(interrupted[0]) if interrupted else store.runs("-")
        standing = set(rows.loc[(rows["status"] == "ok") & (rows["retired"] == ""), "key"])
        to_run = []
        for comparison in self.comparisons:
            data = find_prepared(comparison.experiment.data, comparison.experiment.validation, comparison.path.parent)
            if data:
                check_size(comparison.path.stem, comparison.experiment, data.sizes["train"])
            there = 0
            for backend, mode in self.modes:
                keys = self._keys(comparison, data.hash, backend, mode, interpreters) if data else set()
                there += len(keys & standing)
                cell = (comparison.experiment.hash, backend.name, mode, comparison.threads)
                to_run += [cell] * (self.repeats - len(keys & standing))
            names = ", ".join(f"{backend.name} {mode}" for backend, mode in self.modes)
            already = f", {there} of them are there already" if there else ""
            prepared = "" if data else "; its data is not prepared yet"
            _say(
                console,
                f"{comparison.label}, {comparison.threads} threads: {names}; "
                f"{len(self.modes) * self.repeats} runs in {self.repeats} rounds{already}{prepared}",
            )
        for backend in {backend.name: backend for backend, _ in self.modes}.values():
            if not (interpreters.given(backend) or environments.is_ready(backend)):
                _say(console, f"{backend.name}: its environment is not made yet")
        if interrupted:
            _say(console, f"the interrupted session {interrupted[0]} would be continued; --fresh starts over")
        _say(console, f"{len(to_run)} runs would be run: {estimate(store.runs(), to_run)}")

    def _keys(
        self, comparison: PlannedComparison, data_hash: str, backend: BackendFile, mode: str, interpreters: Interpreters
    ) -> set[str]:
        """The keys of a cell's runs in all rounds."""
        experiment = comparison.experiment.hash
        content = resume.Content(experiment, data_hash, backend.hash, self.device, self.precision, self.start)
        where = (comparison.path.stem, comparison.point, backend.name, mode, comparison.threads)
        installed = interpreters.installed(backend)
        rounds = range(1, self.repeats + 1)
        described = describe_machine()
        return {
            resume.key(resume.Place(*where, round_), content, installed, described, self.measured) for round_ in rounds
        }


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
