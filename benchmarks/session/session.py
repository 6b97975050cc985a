"""A session: every cell of the plan gets a worker, its turns and its row, whatever happens to any of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from backends.hosting.environments import Interpreters
from benchmarks.cell.keeping import Keeper
from benchmarks.cell.plan import Cell, Comparison, comparisons
from benchmarks.cell.run import CellRun
from benchmarks.machine.description import describe_machine, gpu_state, lockstep_version
from benchmarks.machine.memory import workers_that_fit
from benchmarks.machine.noise import NoiseWatch, processor_settings
from benchmarks.session import resume, rounds
from benchmarks.session.estimate import estimate
from benchmarks.session.options import Options
from benchmarks.session.peaks import Limits, copy_bandwidth, product_peaks
from benchmarks.session.progress import TerminalProgress
from benchmarks.session.signals import Interrupted, shielded
from benchmarks.session.starting import Starter
from benchmarks.session.turns import take_turns
from benchmarks.spec.flops import step_flops
from results.proof.judge import Judgement, judge
from results.proof.parting import Partings
from results.record import Run, threads_text
from results.statistics import compare
from results.store import Store

Planned = tuple[Comparison, list[Run]]
"""A comparison, and the records of its runs; none if they stand already."""


class Session:
    """The runs of one command, from the first environment to the last row."""

    def __init__(
        self,
        name: str,
        cells: Sequence[Cell],
        options: Options,
        interpreters: Interpreters,
        scratch: Path,
        store: Store,
        progress: TerminalProgress,
        node: str = "",
        elsewhere: Collection[tuple[str, str, int]] = (),
    ) -> None:
        """Plan every run of a session that has been claimed, less those that it has already; nothing is started.

        Workers get folders of their own in ``scratch``. In a cluster, ``node`` is what this machine is called there,
        and ``elsewhere`` are the backend, mode and round of runs that need not be run here.
        """
        self.name = name
        self.runs: list[Run] = []
        self._comparisons = comparisons(cells)
        if all(len(comparison.cells) == 1 for comparison in self._comparisons):
            options = replace(options, budget=None)  # more rounds make ratios surer, and there are none
        self._options = options
        self._interpreters = interpreters
        self._scratch = scratch
        self._store = store
        self.progress = progress
        self._node = node
        described = {**describe_machine(), **({"node": node} if node else {})}
        self._machine = {**described, **processor_settings()}
        self._lockstep = lockstep_version()
        self._start = time.perf_counter()
        self._judgements: dict[str, tuple[Judgement, Partings]] = {}
        self._limits: dict[int, Limits] = {}
        self._seconds: dict[tuple[str, int], float] = {}
        """What the latest round of each comparison took."""
        self._call_steps: dict[rounds.Name, int] = {}
        """What earlier rounds have learned of the length of a call."""
        self._compiled: set[str] = set()
        """The programs that compilers are done with."""
        self._keys = resume.Keys(interpreters, described, options.measured)
        self._starter = Starter(interpreters, scratch, store.folder / "logs", options.timeout, self._keys)
        self._elsewhere = elsewhere
        self._count, self._standing = resume.go_on(store, name, cells, self._keys)
        self._plan = [
            self._still_to_run(comparison.again(round_))
            for round_ in range(1, options.repeats + 1)
            for comparison in self._comparisons
        ]

    def execute(self) -> None:
        """Run the plan; then add rounds, if the options ask for them.

        ``Interrupted`` ends it early, after every planned run that has no row has got one.
        """
        self.progress.plan([record for _, records in self._plan for record in records])
        cells = [
            (record.experiment_hash, record.backend, record.mode, record.threads_asked or 0, record.stock)
            for _, records in self._plan
            for record in records
        ]
        spent = self._options.spent
        self.progress.outlook(estimate(self._store.runs(), cells, spent), self.name, len(self._standing))
        self.progress.deadline = None if spent is None else self._start + spent
        (self._store.folder / "logs").mkdir(parents=True, exist_ok=True)
        live: list[CellRun] = []
        position = 0
        try:
            while position < len(self._plan):  # it grows at its end
                batch = self._batch(position)
                position += len(batch)
                live = []
                for comparison, records in batch:
                    live += self._cell_runs(comparison, records)
                self._run(batch, live)
                if position == len(self._plan):
                    self._add_rounds(batch[-1][0].round + 1)
            self._store.finish(self.name)
        except Interrupted as signal:
            self.progress.message(
                "stopping: the tables and the report are being written; a second Ctrl-C stops at once"
            )
            self._interrupted(live, f"stopped by {signal}")
            raise
        finally:
            for run in live:
                run.end_worker()
            self._starter.end()

    def _batch(self, position: int) -> list[Planned]:
        """The next comparisons of the plan, of one round, whose workers may be there at the same time.

        The very first is alone: its figures are there before the others have compiled.
        """
        first, workers = self._plan[position][0], 0
        batch: list[Planned] = []
        for comparison, records in self._plan[position:]:
            workers += len(records)
            together = position > 0 and (comparison.round, comparison.threads) == (first.round, first.threads)
            if batch and not (together and workers <= workers_that_fit()):
                break
            batch.append((comparison, records))
        return batch

    def _run(self, batch: Sequence[Planned], live: Sequence[CellRun]) -> None:
        """Run a few comparisons: all workers start and get ready, then each comparison has its turn."""
        begin = time.perf_counter()
        if live and self._options.peaks:
            self._measure_limits(batch[0][0].threads, batch[0][0].round)
        self.progress.doing(f"round {batch[0][0].round}: frameworks are imported, and {len(live)} processes forked")
        self._starter.start(live)
        self.progress.doing(f"round {batch[0][0].round}: {len(live)} processes load and compile, side by side")
        self._starter.get_ready(live)
        shared = (time.perf_counter() - begin) / len(batch)
        for comparison, records in batch:
            begin = time.perf_counter()
            names = {record.run for record in records}
            self._compare(comparison, [run for run in live if run.record.run in names])
            self._seconds[_key(comparison)] = shared + time.perf_counter() - begin
            if live and comparison.round == 1 and self._options.turns and self._plan[-1][0].round > 1:
                self.progress.preliminary(self._store, self.name, comparison.materials.name, self._options.baseline)

    def _interrupted(self, live: Sequence[CellRun], reason: str) -> None:
        """Give every run that has no row yet one that says why."""
        with shielded():
            for run in live:
                if run.record not in self.runs:
                    run.end("interrupted", reason)
            waiting = [record for _, records in self._plan for record in records if record not in self.runs]
            for record in waiting:
                record.status, record.reason = "interrupted", record.reason or f"{reason} before it began"
            self._store.append(*waiting)
            self.runs += waiting

    def _still_to_run(self, comparison: Comparison) -> tuple[Comparison, list[Run]]:
        """The part of a comparison that has no row that stands, and the records of its runs."""
        waiting = [
            cell
            for cell in comparison.cells
            if self._keys.of(cell, comparison.round) not in self._standing
            and (cell.backend.name, cell.mode, comparison.round) not in self._elsewhere
        ]
        part = replace(comparison, cells=tuple(waiting)) if waiting else comparison
        return part, self._records(part) if waiting else []

    def _cell_runs(self, comparison: Comparison, records: Sequence[Run]) -> list[CellRun]:
        """The runs of a comparison, with what its earlier ones have brought; none if all stand already."""
        if not records:
            return []
        judged = self._judge(comparison, records[0])
        runs = []
        for cell, record in zip(comparison.cells, records, strict=True):
            keeper = Keeper(self._store.folder, cell) if self._options.keep_models else None
            steps, compiled = self._call_steps.get(_name(cell)), self._compiled
            runs.append(CellRun(cell, record, *judged, self._start, self.progress.training, keeper, steps, compiled))
        return runs

    def _add_rounds(self, round_: int) -> None:
        """Plan one more round, as long as the budget lasts, of what is to have one."""
        if self._options.budget is None or not self._within_budget(0.0):
            return
        runs = self._store.runs(self.name)
        found = compare(
            runs[runs["excluded"] == ""], self._store.windows(self.name), self._options.baseline, errors=True
        )
        added = [
            self._still_to_run(replace(comparison, cells=cells))
            for comparison in self._in_time([comparison.again(round_) for comparison in self._comparisons], found)
            if (cells := self._unsure(comparison, found))
        ]
        self._plan += added
        if added:
            labels = ", ".join(comparison.materials.label for comparison, _ in added)
            self.progress.add([record for _, records in added for record in records])
            why = "there is time left" if self._options.until is None else "ratios that are not sure enough yet"
            self.progress.message(f"{why}: round {round_} of {labels}")

    def _unsure(self, comparison: Comparison, found: pd.DataFrame) -> tuple[Cell, ...]:
        """The cells that are to have another round: those that have a figure; with ``until``, with wide intervals."""
        names = rounds.counting(found)
        if self._options.until is not None:
            names = rounds.not_narrow(found, self._options.until)
        return tuple(cell for cell in comparison.cells if _name(cell) in names)

    def _in_time(self, following: Sequence[Comparison], found: pd.DataFrame) -> list[Comparison]:
        """Those comparisons of a round that are expected to end within the budget, the noisiest first if not all are.

        With ``until``, what is begun within the budget is ended.
        """
        expected = sum(self._seconds.get(_key(comparison), 0.0) for comparison in following)
        if self._options.until is not None or self._within_budget(expected):
            return list(following)
        chosen, expected = [], 0.0
        order = rounds.noisiest_first(found)
        for comparison in sorted(
            following, key=lambda one: order.index(_key(one)) if _key(one) in order else len(order)
        ):
            if self._within_budget(expected + self._seconds.get(_key(comparison), 0.0)):
                chosen.append(comparison)
                expected += self._seconds.get(_key(comparison), 0.0)
        return chosen

    def _within_budget(self, more: float) -> bool:
        assert self._options.budget is not None  # noqa: S101 - it is only asked then
        return time.perf_counter() - self._start + more <= self._options.budget

    def _judge(self, comparison: Comparison, first: Run) -> tuple[Judgement, Partings]:
        """The reference's judgement of an experiment, made when its first comparison begins."""
        materials = comparison.materials
        if materials.label not in self._judgements:
            self.progress.judging(materials.label)
            case = materials.case(comparison.precision)
            judgement = judge(case, self._options.judge_budget)
            first.judge_seconds = judgement.seconds
            self._judgements[materials.label] = judgement, Partings(case)
        return self._judgements[materials.label]

    def _measure_limits(self, threads: int, round_: int) -> None:
        """Measure what all backends of the session can do with so many threads, unless that has been done."""
        if threads in self._limits:
            return
        self.progress.doing(f"measuring what the machine can do at most with {threads_text(threads)}")
        cells = [cell for comparison in self._comparisons for cell in comparison.cells if cell.threads == threads]
        contestants = self._starter.contestants({cell.backend.name: cell for cell in cells}.values(), round_, self.name)
        peaks = product_peaks(contestants, self._scratch / f"peak-{threads}")
        self._limits[threads] = Limits(tuple(peaks), copy_bandwidth(threads))

    def _compare(self, comparison: Comparison, runs: list[CellRun]) -> None:
        """Have the workers of one comparison train one after the other, then take turns, and end."""
        for run in runs:
            for step in (run.train, *([run.warm_up] if self._options.turns else [])):
                with run.turn():
                    step()
            self._call_steps[_name(run.cell)] = run.call_steps
            if not run.alive:
                self._ended(run.record)
        self._take_turns(comparison, runs)
        for run in runs:
            if run.record not in self.runs:
                with run.turn():
                    run.finish()
                if limits := self._limits.get(comparison.threads):
                    limits.apply(run.record)
                self._ended(run.record)

    def _take_turns(self, comparison: Comparison, runs: list[CellRun]) -> None:
        """Time all workers, and watch what else the machine does meanwhile."""
        gpus = gpu_state()
        watch = NoiseWatch(sum(run.cpu_seconds for run in runs))
        for turn in take_turns(runs, self._options.turns, self._options.baseline, comparison.round):
            self.progress.turns(comparison, turn)
        noise = watch.end(sum(run.cpu_seconds for run in runs))
        for run in runs:
            run.record.others_per_wall = noise.others_per_wall
            run.record.stolen_per_wall = noise.stolen_per_wall
            run.record.throttled = noise.throttled
            run.record.gpu = {"before": gpus, "after": gpu_state()} if gpus else {}

    def _records(self, comparison: Comparison) -> list[Run]:
        """Make the records of a comparison's runs, with all that is known before they begin."""
        records = []
        first = self._count + 1
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
                    device=self._expected_device(cell),
                    seed=experiment.seed,
                    round=comparison.round,
                    comparison=f"{self.name}-{first:04d}",
                    node=self._node,
                    experiment_hash=experiment.hash,
                    backend_hash=cell.backend.hash,
                    data_hash=materials.data.hash,
                    batches_hash=materials.batches_hash,
                    classes=list(materials.data.classes),
                    train_samples=materials.data.sizes["train"],
                    validation_samples=materials.data.sizes["validation"],
                    test_samples=materials.data.sizes["test"],
                    batch_size=experiment.batch_size,
                    epochs=experiment.epochs,
                    steps_per_epoch=materials.steps_per_epoch,
                    parameters=materials.parameter_count,
                    step_flops=step_flops(materials.model, experiment.batch_size),
                    threads_asked=cell.threads,
                    precision_asked=cell.precision,
                    replicas=experiment.replicas,
                    stock=cell.stock,
                    sweep_point=materials.point,
                    target_accuracy=self._options.target_accuracy,
                    machine=self._machine,
                    lockstep=self._lockstep,
                    command=self._options.command,
                    weights_from=materials.start.label if materials.start else "",
                    experiment_json=experiment.canonical_json(),
                    log=f"logs/{run}.log",
                )
            )
        return records

    def _expected_device(self, cell: Cell) -> str:
        """What "auto" will be, as far as that is known before the backend is asked: failed runs belong somewhere."""
        if cell.device == "auto" and not ("gpu" in cell.backend.devices and self._machine["gpus"]):
            return "cpu"
        return cell.device

    def _ended(self, record: Run) -> None:
        """Give a run its row."""
        with shielded():
            self._store.append(record)
            self.runs.append(record)
        self.progress.ended(record, _own_seconds(record))


def _own_seconds(record: Run) -> float:
    """What a run will cost the next time: without what hosts do once a round, and without the first compilation."""
    once = [
        record.waiting_seconds,
        record.start_seconds if record.forked else 0,
        record.import_seconds if record.forked else 0,
    ]
    compiled = record.first_step_seconds if record.compiler_cache == "cold" else 0
    return (record.wall_seconds or 0.0) - sum(seconds or 0.0 for seconds in (*once, compiled))


def _key(comparison: Comparison) -> tuple[str, int]:
    return comparison.materials.experiment.hash, comparison.threads


def _name(cell: Cell) -> rounds.Name:
    return cell.materials.experiment.hash, cell.threads, cell.backend.name, cell.mode
