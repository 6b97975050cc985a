"""What a session shows while it runs: a live line in a terminal, one line per event in a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmarks.cell.plan import Comparison
from benchmarks.cell.run import CellRun
from results.overview import duration
from results.record import Epoch, Run, where_and_why
from results.store import Store
from results.terminal import preliminary_texts

HEARTBEAT = 15.0
"""Seconds after which a line is printed at the latest, where there is no live one."""


class TerminalProgress:
    """Progress for people; use it as a context manager."""

    def __init__(self, console: Console, log_every: int | None = None) -> None:
        """Write to a console; the live line appears only if that is a terminal.

        With ``log_every``, a line is printed about every so many batches, and one after every epoch.
        """
        self._console = console
        self._log_every = log_every
        self._logged: tuple[str, int, int] = ("", 0, 0)
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=16),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._now = "preparing data and environments"
        self._last_line = time.perf_counter()
        self._stopped = threading.Event()
        self._remaining: list[Run] = []
        self._total = 0
        self._seconds: dict[tuple[str, ...], float] = {}
        self.deadline: float | None = None
        """Until when rounds are added, a reading of ``perf_counter``."""

    def __enter__(self) -> TerminalProgress:
        """Show the live line."""
        self._bar.start()
        if not self._console.is_terminal:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the live line away."""
        self.stop()

    def stop(self) -> None:
        """Take the live line away; lines can still be printed."""
        self._stopped.set()
        self._bar.stop()

    def plan(self, runs: Sequence[Run]) -> None:
        """Show how much there is to do."""
        self.add(runs)
        self.message(f"{len(runs)} runs of {len({run.experiment for run in runs})} experiments planned")

    def add(self, runs: Sequence[Run]) -> None:
        """Count them to what there is to do."""
        self._remaining += runs
        self._total += len(runs)
        self._bar.update(self._task, total=self._total)

    def outlook(self, estimate: str, session: str, standing: int) -> None:
        """Say how long it will take, and whether a session is continued, so many runs of which stand."""
        self.message(estimate)
        if standing:
            self.message(f"continuing session {session}: {standing} runs of it are ok and stay; --fresh starts over")

    def message(self, text: str) -> None:
        """Print a line."""
        self._last_line = time.perf_counter()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def doing(self, text: str) -> None:
        """Update the live line: what begins now."""
        self._live(text)

    def judging(self, experiment: str) -> None:
        """Update the live line."""
        self._live(f"{experiment} | the float64 reference trains")

    def preliminary(self, store: Store, session: str, experiment: str, baseline: tuple[str, str]) -> None:
        """Print what one round says of an experiment."""
        for text in preliminary_texts(store.runs(session), store.windows(session), experiment, baseline):
            self.message(text)

    def training(self, run: CellRun) -> None:
        """Update the live line: cell, epoch, loss, samples/s, time left."""
        materials = run.cell.materials
        epoch = f"{run.cell.label} | epoch {run.epoch}/{materials.experiment.epochs}"
        loss = f"loss {run.last_loss:.4f} [{run.seen}/{materials.data.sizes['train']}]"
        self._live(f"{epoch} {loss} {run.speed:,.0f} samples/s")
        if self._log_every:
            logged = (run.record.run, run.epoch, run.seen // materials.experiment.batch_size // self._log_every)
            if run.record.epoch_rows[-1].epoch == run.epoch:
                self.message(f"{epoch}: {materials.steps_per_epoch} iterations, {_scores(run.record.epoch_rows[-1])}")
            elif logged[-1] and logged != self._logged:
                self._logged = logged
                self.message(f"{epoch}: {loss}")

    def turns(self, comparison: Comparison, turn: int) -> None:
        """Update the live line."""
        self._live(f"{comparison.materials.label} | timing round {comparison.round}, turn {turn}")

    def ended(self, run: Run, seconds: float) -> None:
        """Print the run's line."""
        self._remaining = [other for other in self._remaining if _place(other) != _place(run)]
        self._seconds[_cell(run)] = seconds
        self._bar.advance(self._task)
        label = f"{run.experiment} {run.sweep_point}".strip()
        parts = [f"round {run.round} {label} {run.backend} {run.mode}: {run.status}"]
        if run.status == "ok":
            parts.append(f"loss {run.train_loss:.4f}")
            if run.test_accuracy is not None:
                parts.append(f"test accuracy {run.test_accuracy:.1%}")
            if run.train_samples_per_second is not None:
                parts.append(f"{run.train_samples_per_second:,.0f} samples/s")
        else:
            parts.append(where_and_why(run.phase, run.reason))
        if left := self._time_left():
            parts.append(f"about {left} left")
        self.message(", ".join(parts))

    def _live(self, text: str) -> None:
        left = self._time_left()
        self._now = text + (f" | about {left} left" if left else "")
        self._bar.update(self._task, description=self._now)

    def _beat(self) -> None:
        """Where there is no live line, print what would be in it whenever nothing else has been printed for a while."""
        while not self._stopped.wait(min(HEARTBEAT, 1.0)):
            if time.perf_counter() - self._last_line >= HEARTBEAT:
                self.message(self._now)

    def _time_left(self) -> str:
        """Estimate from what each cell took in the rounds before; new cells count as the mean of the others.

        It is at least what is left of the budget.
        """
        left = 0.0
        if self._seconds:
            mean = sum(self._seconds.values()) / len(self._seconds)
            left = sum(self._seconds.get(_cell(run), mean) for run in self._remaining)
        if self.deadline is not None:
            left = max(left, self.deadline - time.perf_counter())
        return duration(left) if left > 0 else ""


def _scores(row: Epoch) -> str:
    """What is known after an epoch, in words."""
    known = {
        "training loss": row.train_loss,
        "validation loss": row.validation_loss,
        "average test loss": row.test_loss,
    }
    parts = [f"{name} {value:.6f}" for name, value in known.items() if value is not None]
    accuracies = {"validation accuracy": row.validation_accuracy, "test accuracy": row.test_accuracy}
    parts += [f"{name} {value:.1%}" for name, value in accuracies.items() if value is not None]
    return ", ".join(parts)


def _cell(run: Run) -> tuple[str, ...]:
    return run.experiment, run.sweep_point, run.backend, run.mode


def _place(run: Run) -> tuple[int, tuple[str, ...]]:
    return run.round, _cell(run)
