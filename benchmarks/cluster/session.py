"""A session on the machines of a Dask cluster: each comparison is handed to one of them, and its rows come back here.

The unit that is handed out is a comparison with all its rounds. The workers of a round take turns, so they have to be
on one machine anyway; and a ratio is made of rounds of one machine, so that a comparison that were spread over several
would have an interval of few rounds on each. Only when a machine dies do the rounds that are left go to another one.

Dask decides who gets what, and runs one part at a time on a worker (the resource); what is to be run is decided here.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from distributed import Event, KilledWorker, Queue
from distributed.client import ClosedClientError
from rich.console import Console

from backends.hosting import environments, sources
from benchmarks.cluster.ledger import Ledger
from benchmarks.cluster.machines import RESOURCE, Machines, connected
from benchmarks.cluster.part import Part, Row
from benchmarks.cluster.worker import LOST, OTHER_VERSION, PATIENCE, POLL, code_version, run_part
from benchmarks.session.estimate import estimate
from benchmarks.session.exit_codes import OK
from benchmarks.session.local import tell_of_modes
from benchmarks.session.outcome import carry_out
from benchmarks.session.progress import TerminalProgress
from benchmarks.session.request import Request, Variant
from benchmarks.session.resume import claim
from benchmarks.session.signals import Interrupted, shielded
from results.errors import StoreError
from results.record import Run, Status
from results.store import Store

ATTEMPTS = 3
"""How often a comparison is begun, if the machines die that run it."""

NO_WORKERS = 60.0
"""Seconds without a worker before a session gives up: Dask starts those again that died, and queues start new ones."""

GONE = (OSError, RuntimeError, ClosedClientError)
"""What Dask raises when the scheduler does not answer any more."""

LOOK = 2.0
"""Seconds between two looks at which workers there are."""


def on_cluster(cluster: str, request: Request, what: str, store: Store, console: Console, dry_run: bool) -> int:
    """Do what is requested on a cluster, as ``session.local.on_this_machine`` does it here; ``what`` is its hash."""
    asked = [variant.point.threads or request.selection.threads or 0 for variant in request.variants]
    with connected(cluster, asked) as machines:
        if dry_run:
            interrupted = [] if request.options.fresh else store.unfinished(what)
            _preview(request, machines, interrupted, store, console)
            return OK
        with TerminalProgress(console) as progress, claim(store, what, request.options.fresh) as name:
            tell_of_modes(request, progress)
            session = ClusterSession(name, request, machines, store, progress)
            return carry_out(session, store, request.options, console)


@dataclass
class _Comparison:
    """A variant of the request, and what is being done about it."""

    variant: Variant
    begun: int = 0
    """How often it has been handed out."""
    future: Any = None
    node: str = ""
    """The machine that has it, or had it last."""
    running: bool = False
    refused: str = ""
    """Why a machine would not run it."""

    @property
    def label(self) -> str:
        return self.variant.label


class ClusterSession:
    """The runs of one command on the machines of a cluster; every planned run gets its row, as in ``Session``."""

    def __init__(
        self, name: str, request: Request, machines: Machines, store: Store, progress: TerminalProgress
    ) -> None:
        """Take up a session that has been claimed; nothing is started."""
        self.name = name
        self.runs: list[Run] = []
        self.progress = progress
        self._request = request
        self._machines = machines
        self._store = store
        self._comparisons = [_Comparison(variant) for variant in request.variants]
        self._by_ticket: dict[str, _Comparison] = {}
        first = next(iter(machines.introductions.values()))
        self._ledger = Ledger(store, name, request, first.default_threads)
        self._handed_out = self._ledger.parts
        self._stopped_by = ""
        self._last_end = self._last_worker = self._last_look = time.monotonic()
        self._queue = Queue(f"lockstep-{name}-{time.time_ns()}", client=machines.client)

    def execute(self) -> None:
        """Hand out what has no row, and take the rows as they come.

        ``Interrupted`` ends it early, after every planned run that has no row has got one.
        """
        missing = [run for variant in self._request.variants for run in self._ledger.missing(variant)]
        self.progress.plan(missing)
        self.progress.outlook(_estimate(self._store, missing, self._machines), self.name, self._ledger.count)
        try:
            for comparison in self._comparisons:
                if self._ledger.missing(comparison.variant) or self._request.options.adds_rounds:
                    self._hand_out(comparison)
            while self._open():
                self._look()
            self._store.finish(self.name)
        except Interrupted as signal:
            self.progress.message(
                "stopping: the tables and the report are being written; a second Ctrl-C stops at once"
            )
            self._stop(f"stopped by {signal}")
            raise
        finally:
            self._let_go()

    # --- handing out --------------------------------------------------------------------------------------------

    def _hand_out(self, comparison: _Comparison) -> None:
        """Have a machine run what is missing of a comparison."""
        comparison.begun += 1
        self._handed_out += 1
        ticket = f"{self._queue.name}-{self._handed_out}"
        self._by_ticket[ticket] = comparison
        comparison.future = self._machines.client.submit(
            run_part,
            pickle.dumps(self._part(comparison)),
            code_version(),
            ticket,
            self._queue.name,
            key=ticket,
            resources={RESOURCE: 1},
            pure=False,
        )

    def _part(self, comparison: _Comparison) -> Part:
        request = replace(self._request, variants=[comparison.variant])
        files = {
            backend.name: sources.own(backend.path)
            for backend, _ in request.modes
            if backend.path.parent != environments.FOLDER
        }
        rows = self._ledger.rows(comparison.variant)
        windows = self._ledger.windows(comparison.variant) if request.options.adds_rounds else []
        return Part(f"{self.name}-{self._handed_out:03d}", request, files, rows, windows)

    def _open(self) -> list[_Comparison]:
        return [comparison for comparison in self._comparisons if comparison.future is not None]

    def _let_go(self) -> None:
        """Want nothing more of the cluster."""
        with suppress(*GONE):
            self._machines.client.cancel([comparison.future for comparison in self._open()])
            for ticket in self._by_ticket:
                Event(ticket, client=self._machines.client).clear()
            self._queue.close()

    # --- what comes back ----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take what has come; see which parts have ended, and whether there is anybody left."""
        try:
            ended = [comparison for comparison in self._open() if comparison.future.done()]
            self._take_messages()  # after looking: what a part had to say comes before its end
            for comparison in ended:
                self._part_ended(comparison)
            self._look_for_workers()
        except GONE as error:
            self._give_up(f"the Dask scheduler does not answer any more: {error}")
        if not ended:
            time.sleep(POLL)

    def _look_for_workers(self) -> None:
        """Give up when there has been no worker for long; looking is not for nothing where there are hundreds."""
        now = time.monotonic()
        if now - self._last_look < LOOK:
            return
        self._last_look = now
        if self._machines.workers():
            self._last_worker = now
        elif now - self._last_worker > NO_WORKERS:
            self._give_up(f"no Dask worker with the resource {RESOURCE!r} is left")

    def _take_messages(self) -> None:
        with shielded():  # what has been taken from the queue is nowhere else
            for ticket, message in self._queue.get(batch=True):
                kind, content = pickle.loads(message)  # noqa: S301 - whoever can reach the scheduler may run anything
                self._take(self._by_ticket[ticket], kind, content)

    def _take(self, comparison: _Comparison, kind: str, content: Any) -> None:
        match kind:
            case "started":
                comparison.node, comparison.running = content, True
                self.progress.message(f"{comparison.label}: on {content}")
            case "message" if not self._stopped_by:
                self.progress.message(f"{comparison.node}: {content}")
            case "row":
                self._take_row(content)
            case "exclude":
                self._ledger.exclude(*content)
            case "refused":
                comparison.refused = content
            case "ended":
                comparison.running = False

    def _take_row(self, row: Row) -> None:
        """Write a row and its files."""
        run = row.run
        if run.status == "interrupted" and not self._stopped_by:
            return  # the machine stopped on its own account; another one gets the part
        run.session, run.reason = self.name, run.reason.replace("stopped by SIGTERM", self._stopped_by)
        for name, content in row.files.items():
            path = self._store.folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise StoreError(f"{path}: {error.strerror or error}") from None
        self._append(run)

    def _append(self, run: Run) -> None:
        if not self._ledger.take(run):
            return  # the last words of a machine that was given up
        self.runs.append(run)
        if run.round > self._request.options.repeats:  # its machine has added a round
            self.progress.add([run])
        now = time.monotonic()
        self.progress.ended(run, now - self._last_end)
        self._last_end = now

    def _part_ended(self, comparison: _Comparison) -> None:
        """Hand the rest to another machine if the one that had it died, up to a point."""
        future, comparison.future, comparison.running = comparison.future, None, False
        outcome = LOST
        if future.status == "finished":
            outcome = future.result()
        elif future.status == "error" and not _died(future):
            comparison.refused = f"{type(future.exception()).__name__}: {future.exception()}"
        if outcome == OTHER_VERSION:
            comparison.refused = "the worker that got it has another version of lockstep"
        missing = self._ledger.missing(comparison.variant, comparison.node)
        if missing and comparison.refused:
            self._end_rest(missing, "failed", f"on {comparison.node or 'a worker'}: {comparison.refused}")
        elif missing and comparison.begun < ATTEMPTS:
            self.progress.message(
                f"{comparison.label}: {comparison.node or 'a worker'} was lost; {len(missing)} runs are left"
            )
            self._hand_out(comparison)
        elif missing:
            reason = f"the Dask worker that ran it was lost, {ATTEMPTS} times; the last one was on {comparison.node}"
            self._end_rest(missing, "failed", reason)

    # --- ends -----------------------------------------------------------------------------------------------------

    def _give_up(self, reason: str) -> None:
        """End every comparison: there is nobody to run it."""
        for comparison in self._open():
            comparison.future = None
            self._end_rest(self._ledger.missing(comparison.variant, comparison.node), "failed", reason)

    def _stop(self, reason: str) -> None:
        """Stop the machines, take what they still have to say, and give every run that has no row one that says why."""
        self._stopped_by = reason
        deadline = time.monotonic() + PATIENCE
        try:
            self._machines.client.cancel([comparison.future for comparison in self._open()])
            while any(comparison.running for comparison in self._open()) and time.monotonic() < deadline:
                self._take_messages()
                time.sleep(0.1)
        except GONE:
            pass
        finally:
            with shielded():
                for comparison in self._comparisons:
                    missing = self._ledger.missing(comparison.variant, comparison.node)
                    self._end_rest(missing, "interrupted", f"{reason} before it began")

    def _end_rest(self, missing: Sequence[Run], status: Status, reason: str) -> None:
        """Give runs that were not run their rows."""
        self._handed_out += 1  # names of their own
        for number, run in enumerate(missing, start=1):
            run.run = f"{self.name}-{self._handed_out:03d}-{number:04d}"
            run.status, run.reason = status, reason
            self._append(run)


def _died(future: Any) -> bool:
    """Whether a task failed because the workers died that had it, and not by what it did."""
    return isinstance(future.exception(), KilledWorker)


def _estimate(store: Store, missing: Sequence[Run], machines: Machines) -> str:
    cells = [(run.experiment_hash, run.backend, run.mode, run.threads_asked or 0, run.stock) for run in missing]
    shared = f", shared by {len(machines.nodes)} machines" if len(machines.nodes) > 1 else ""
    return estimate(store.runs(), cells) + shared


def _preview(request: Request, machines: Machines, interrupted: Sequence[str], store: Store, console: Console) -> None:
    """Say what would be run, and where; nothing is written, and the machines' data is not looked at."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    workers = len(machines.introductions)
    say(f"{workers} workers on {len(machines.nodes)} machines: {', '.join(machines.nodes)}")
    names = ", ".join(f"{backend.name} {mode}" for backend, mode in request.modes)
    runs = len(request.modes) * request.options.repeats
    stock = ", stock" if request.selection.stock else ""
    for variant in request.variants:
        say(f"{variant.label}{stock}: {names}; {runs} runs in {request.options.repeats} rounds, on one machine")
    say("data is prepared on the machine that runs it, and was not looked at")
    if interrupted:
        rows = store.runs(interrupted[0])
        there = ((rows["status"] == "ok") & (rows["excluded"] == "")).sum()
        say(f"the interrupted session {interrupted[0]} would be continued, {there} runs are there; --fresh starts over")
