"""A session: every cell of the plan gets a worker, its turns and its row, whatever happens to any of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backends.hosting.environments import EnvironmentFailed, Interpreters
from benchmarks.cell.keeping import Keeper
from benchmarks.cell.plan import Cell, Comparison, comparisons
from benchmarks.cell.run import CellRun
from benchmarks.machine.description import describe_machine, gpu_state
from benchmarks.machine.noise import NoiseWatch, processor_settings
from benchmarks.machine.processors import processors_for
from benchmarks.session import resume, rounds
from benchmarks.session.estimate import estimate
from benchmarks.session.hosts import Hosts, Key
from benchmarks.session.importing import side_by_side
from benchmarks.session.options import MOST_TIMES, Options
from benchmarks.session.peaks import Contestant, Limits, copy_bandwidth, product_peaks
from benchmarks.session.progress import TerminalProgress
from benchmarks.session.signals import Interrupted, shielded
from benchmarks.session.turns import take_turns
from benchmarks.spec.flops import step_flops
from benchmarks.worker.environment import worker_environment
from benchmarks.worker.host import Host, NoHost
from benchmarks.worker.process import Launch
from results.proof.judge import Judgement, judge
from results.record import Run
from results.statistics import compare
from results.store import Store


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
        self._options = options
        self._interpreters = interpreters
        self._scratch = scratch
        self._store = store
        self.progress = progress
        self._node = node
        described = {**describe_machine(), **({"node": node} if node else {})}
        self._machine = {**described, **processor_settings()}
        self._start = self._last_end = time.perf_counter()
        self._hosts = Hosts(scratch)
        self._judgements: dict[str, Judgement] = {}
        self._limits: dict[int, Limits] = {}
        self._comparisons = comparisons(cells)
        self._processors = {comparison.threads: processors_for(comparison.threads) for comparison in self._comparisons}
        self._keys = resume.Keys(interpreters, described, options.measured)
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
        self.progress.outlook(estimate(self._store.runs(), cells), self.name, len(self._standing))
        logs = self._store.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        live: list[CellRun] = []
        try:
            for comparison, records in self._plan:  # it grows at its end
                if records:
                    judgement = self._judge(comparison, records[0])
                    live = [
                        CellRun(cell, record, judgement, self._start, self.progress.training, self._keeper(cell))
                        for cell, record in zip(comparison.cells, records, strict=True)
                    ]
                    if self._options.peaks:
                        self._measure_limits(comparison.threads, comparison.round)
                    self._compare(comparison, live, logs)
                if comparison is self._plan[-1][0]:
                    self._add_rounds(comparison.round + 1)
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
            self._hosts.end()

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

    def _keeper(self, cell: Cell) -> Keeper | None:
        return Keeper(self._store.folder, cell) if self._options.keep_models else None

    def _add_rounds(self, round_: int) -> None:
        """Plan one more round of the cells whose ratios are not known well enough, as long as that is wanted."""
        if not self._may_go_on(round_):
            return
        runs = self._store.runs(self.name)
        found = compare(runs[runs["excluded"] == ""], self._store.windows(self.name), self._options.baseline)
        names = rounds.going_on(found, self._options.until)
        added = [
            self._still_to_run(replace(comparison.again(round_), cells=cells))
            for comparison in self._comparisons
            if (cells := tuple(cell for cell in comparison.again(round_).cells if _name(cell) in names))
        ]
        self._plan += added
        if added:
            labels = ", ".join(comparison.materials.label for comparison, _ in added)
            self.progress.add([record for _, records in added for record in records])
            self.progress.message(f"ratios that are not sure enough yet: round {round_} of {labels}")

    def _may_go_on(self, round_: int) -> bool:
        if self._options.until is not None:
            return time.perf_counter() - self._start <= self._options.budget
        return self._options.go_on and round_ <= MOST_TIMES * self._options.repeats

    def _judge(self, comparison: Comparison, first: Run) -> Judgement:
        """The reference's judgement of an experiment, made when its first comparison begins."""
        materials = comparison.materials
        if materials.label not in self._judgements:
            self.progress.judging(materials.label)
            case = materials.case(comparison.precision)
            self._judgements[materials.label] = judge(case, self._options.judge_budget)
            first.judge_seconds = self._judgements[materials.label].seconds
        return self._judgements[materials.label]

    def _measure_limits(self, threads: int, round_: int) -> None:
        """Measure what all backends of the session can do with so many threads, unless that has been done."""
        if threads in self._limits:
            return
        self.progress.message(f"measuring what the machine can do at most with {threads} threads")
        cells = [cell for comparison in self._comparisons for cell in comparison.cells if cell.threads == threads]
        workers = []
        for name, cell in {cell.backend.name: cell for cell in cells}.items():
            with suppress(EnvironmentFailed):  # its runs will tell
                python = self._interpreters.path(cell.backend)
                folder = self._scratch / f"peak-{threads}-{name}"
                environment = worker_environment(threads, cell.stock)
                log = self._store.folder / "logs" / f"{self.name}-peak-{threads}-{name}.log"
                launch = Launch(python, folder, log, environment, self._processors[threads], self._options.timeout)
                workers.append((cell, launch))
        hosts = self._hosts_of(workers, round_)
        contestants = [
            Contestant(cell.backend, cell.device, launch, cell.stock, host)
            for (cell, launch), host in zip(workers, hosts, strict=True)
        ]
        peaks = product_peaks(contestants, self._scratch / f"peak-{threads}")
        self._limits[threads] = Limits(tuple(peaks), copy_bandwidth(threads))

    def _compare(self, comparison: Comparison, runs: list[CellRun], logs: Path) -> None:
        """Run the workers of one comparison: start together, train one after the other, then take turns."""
        self._start_workers(runs, comparison.round, logs)
        for run in runs:
            for step in (run.prepare, run.train, *([run.warm_up] if self._options.turns else [])):
                with run.turn():
                    step()
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

    def _start_workers(self, runs: list[CellRun], round_: int, logs: Path) -> None:
        """Start the processes: copies of the hosts of the round, which are made if they are not there."""
        launches = {run.record.run: launch for run in runs if (launch := self._launch(run, logs))}
        runs = [run for run in runs if run.record.run in launches]
        hosts = self._hosts_of(
            [(run.cell, launches[run.record.run]) for run in runs], runs[0].record.round if runs else 0
        )
        alone = []
        for run, host in zip(runs, hosts, strict=True):
            launch = launches[run.record.run]
            if isinstance(host, NoHost):
                launch.log.write_bytes(host.printed)
                run.record.phase = "import"
                run.end(host.error.status, str(host.error))
            elif host is None:
                alone.append(run)
            else:
                self._begin(run, launch, host)
                _import(run)

        def start(run: CellRun, core: int) -> None:
            self._begin(run, launches[run.record.run])

        def give_up() -> None:
            for run in alone:
                run.end_worker()

        side_by_side(alone, start, _import, give_up)

    def _hosts_of(self, workers: Sequence[tuple[Cell, Launch]], round_: int) -> list[Host | NoHost | None]:
        """The host of each of some workers, or why there is none; None if it imports the framework itself."""
        keys = [
            Key(cell.backend.path, cell.threads, cell.stock) if cell.backend.forkable and not launch.arguments else None
            for cell, launch in workers
        ]
        self._hosts.prepare(round_, {key: launch for key, (_, launch) in zip(keys, workers, strict=True) if key})
        return [self._hosts.of(key) if key else None for key in keys]

    def _begin(self, run: CellRun, launch: Launch, host: Host | None = None) -> None:
        with shielded():
            run.start(launch, host)

    def _launch(self, run: CellRun, logs: Path) -> Launch | None:
        """How the worker of a run is to be started; None if its environment cannot be made."""
        record = run.record
        log = logs / f"{record.run}.log"
        begin = time.perf_counter()
        try:
            python = self._interpreters.path(run.cell.backend)
        except EnvironmentFailed as error:
            log.write_text(f"{error}\n")
            record.phase = "environment"
            run.end("failed", str(error))
            return None
        record.environment_seconds = time.perf_counter() - begin
        threads = run.cell.threads
        # Compilers keep their results in the folder for temporary files, as far as they keep them at all: the first
        # process of a cell finds it empty, those of later rounds find what the first one left.
        cache = self._scratch / f"cache-{record.experiment_hash[:16]}-{threads}-{record.backend}-{record.mode}"
        cache.mkdir(exist_ok=True)
        environment = {**worker_environment(threads, run.cell.stock), "TMPDIR": str(cache)}
        folder = self._scratch / record.run
        record.resume_key = self._keys.of(run.cell, record.round)
        replication = run.cell.backend.arguments(run.cell.materials.experiment.replicas)
        where = self._processors[threads]
        return Launch(python, folder, log, environment, where, self._options.timeout, replication)

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
        now = time.perf_counter()
        self.progress.ended(record, now - self._last_end)
        self._last_end = now


def _name(cell: Cell) -> rounds.Name:
    return cell.materials.experiment.hash, cell.threads, cell.backend.name, cell.mode


def _import(run: CellRun) -> None:
    with run.turn():
        run.import_framework()
