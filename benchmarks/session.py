"""A session: every cell of the plan gets a worker, its turns and its row, whatever happens to any of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backends.environments import EnvironmentFailed, Interpreters
from benchmarks import machine
from benchmarks.cell_run import CellRun, Launch
from benchmarks.materials import Materials
from benchmarks.plan import Cell, Comparison, comparisons
from results.judge import Judgement, judge
from results.record import Run
from results.store import Store

JUDGE_BUDGET = 12.0
"""Seconds that the float64 reference and its copies may train for one experiment, unless the options say otherwise."""

TURNS = 6
"""Timed windows of each worker in a round, unless the options say otherwise."""


class Progress(Protocol):
    """What a session tells while it runs."""

    def plan(self, runs: Sequence[Run]) -> None:
        """The whole plan is known."""

    def message(self, text: str) -> None:
        """Something worth a line of its own has happened."""

    def judging(self, experiment: str) -> None:
        """The float64 reference trains an experiment."""

    def training(self, run: CellRun) -> None:
        """A training window has ended."""

    def turns(self, comparison: Comparison, turn: int, of: int) -> None:
        """The workers of a comparison take turns."""

    def ended(self, run: Run, seconds: float) -> None:
        """A run has its row; ``seconds`` went by since the previous one had its own."""


@dataclass(frozen=True)
class Options:
    """What applies to all cells of a session."""

    repeats: int
    threads: int
    timeout: float
    turns: int = TURNS
    """Timed windows of each worker in a round; 0 walks the ladder only."""
    judge_budget: float = JUDGE_BUDGET


class Session:
    """The runs of one command, from the first environment to the last row."""

    def __init__(
        self, cells: Sequence[Cell], options: Options, interpreters: Interpreters, store: Store, progress: Progress
    ) -> None:
        """Plan every run; nothing is started or written."""
        self.name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        self.runs: list[Run] = []
        self._options = options
        self._interpreters = interpreters
        self._store = store
        self._progress = progress
        self._processors = machine.processors_for(options.threads)
        self._machine = machine.describe()
        self._start = self._last_end = time.perf_counter()
        self._count = 0
        self._import_seconds: dict[str, float] = {}
        self._judgements: dict[str, Judgement] = {}
        self._comparisons = comparisons(cells, options.repeats)
        self._planned = [self._plan(comparison) for comparison in self._comparisons]

    def execute(self, scratch: Path) -> None:
        """Run the plan, with the workers' own folders in ``scratch``.

        KeyboardInterrupt ends it early, after every planned run that has no row has got one.
        """
        planned = [run for runs in self._planned for run in runs]
        self._progress.plan(planned)
        logs = self._store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        live: list[CellRun] = []
        try:
            for comparison, records in zip(self._comparisons, self._planned, strict=True):
                judgement = self._judge(comparison.cells[0].materials, records[0])
                live = [
                    CellRun(cell, record, judgement, self._start, self._progress.training)
                    for cell, record in zip(comparison.cells, records, strict=True)
                ]
                self._compare(comparison, live, scratch, logs)
        except KeyboardInterrupt:
            for run in live:
                run.end("interrupted", "stopped by Ctrl-C")
            for record in planned:
                if record not in self.runs:
                    record.reason = record.reason or "stopped by Ctrl-C before it began"
                    self._ended(record)
            raise

    def _judge(self, materials: Materials, first: Run) -> Judgement:
        """The reference's judgement of an experiment, made when its first comparison begins."""
        if materials.name not in self._judgements:
            self._progress.judging(materials.name)
            self._judgements[materials.name] = judge(materials.case(), self._options.judge_budget)
            first.ladder_seconds = self._judgements[materials.name].seconds
        return self._judgements[materials.name]

    def _compare(self, comparison: Comparison, runs: list[CellRun], scratch: Path, logs: Path) -> None:
        """Run the workers of one comparison: start together, train one after the other, then take turns."""
        for run in runs:
            self._launch(run, scratch, logs)
        # An import keeps one core busy; as many at once as there are cores do not slow each other down.
        # Those that took longest before go first.
        slowest_first = sorted(runs, key=lambda run: -self._import_seconds.get(run.cell.backend.name, 0.0))
        with ThreadPoolExecutor(len(machine.physical_cores())) as pool:
            list(pool.map(_import, slowest_first))
        self._import_seconds |= {run.cell.backend.name: run.record.import_seconds or 0.0 for run in runs}
        for run in runs:
            for step in (run.prepare, run.train, *([run.warm_up] if self._options.turns else [])):
                with run.turn():
                    step()
            if not run.alive:
                self._ended(run.record)
        for turn in range(1, self._options.turns + 1):
            self._progress.turns(comparison, turn, self._options.turns)
            for run in runs if turn % 2 else reversed(runs):
                with run.turn():
                    run.timed_window(turn)
        for run in runs:
            if run.record not in self.runs:
                with run.turn():
                    run.finish()
                self._ended(run.record)

    def _launch(self, run: CellRun, scratch: Path, logs: Path) -> None:
        record = run.record
        log = logs / f"{record.run}.log"
        begin = time.perf_counter()
        try:
            python = self._interpreters.path(run.cell.backend)
        except EnvironmentFailed as error:
            log.write_text(f"{error}\n")
            record.phase = "environment"
            run.end("failed", str(error))
            return
        record.environment_seconds = time.perf_counter() - begin
        environment = machine.worker_environment(self._options.threads)
        folder = scratch / record.run
        run.start(Launch(python, folder, log, environment, self._processors, self._options.timeout))

    def _plan(self, comparison: Comparison) -> list[Run]:
        """Make the records of a comparison's runs, with all that is known before they begin."""
        records = []
        for cell in comparison.cells:
            self._count += 1
            materials, experiment = cell.materials, cell.materials.experiment
            run = f"{self.name}-{self._count:04d}"
            records.append(
                Run(
                    run=run,
                    session=self.name,
                    experiment=materials.name,
                    backend=cell.backend.name,
                    mode=cell.mode,
                    device=cell.device,
                    seed=experiment.seed,
                    round=comparison.round,
                    experiment_hash=experiment.hash,
                    backend_hash=cell.backend.hash,
                    data_hash=materials.data.hash,
                    batches_hash=materials.batches_hash,
                    batch_size=experiment.batch_size,
                    epochs=experiment.epochs,
                    steps_per_epoch=materials.steps_per_epoch,
                    parameters=materials.parameter_count,
                    threads_asked=self._options.threads,
                    machine=self._machine,
                    experiment_json=experiment.canonical_json(),
                    log=f"logs/{run}.log",
                )
            )
        return records

    def _ended(self, record: Run) -> None:
        """Give a run its row."""
        self._store.append(record)
        self.runs.append(record)
        now = time.perf_counter()
        self._progress.ended(record, now - self._last_end)
        self._last_end = now


def _import(run: CellRun) -> None:
    with run.turn():
        run.import_framework()
