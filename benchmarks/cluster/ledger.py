"""What a session on a cluster has to show so far: the rows that count, and what is missing of the plan.

It is read from the store once, and kept up to date: a store of many runs takes seconds to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.cluster.part import Rows
from benchmarks.session import resume
from benchmarks.session.request import Request, Variant
from results.record import Run
from results.store import COLUMNS, Store


class Ledger:
    """The rows of one session, on their way into the store and in it."""

    def __init__(self, store: Store, session: str, request: Request, default_threads: int) -> None:
        """Read what an earlier command has left, and exclude what it did not finish or what has changed.

        Data, versions and settings are looked at by the machine that ran it, if it gets the rest of the comparison.
        ``default_threads`` is what a run is said to have been asked for that never began.
        """
        self._store = store
        self._session = session
        self._request = request
        self._default_threads = default_threads
        self._counting: dict[tuple[str, str], Rows] = {}
        self._taken: set[tuple[Any, ...]] = set()
        rows = _records(store.runs(session))
        self.parts = max((int(row["run"].split("-")[-2]) for row in rows), default=0)
        """The highest number of a part in the names of the runs."""
        self._sort([row for row in rows if not row["excluded"]])

    def _sort(self, rows: Rows) -> None:
        now = {
            (variant.path.stem, variant.point.label, backend.name, mode): (variant.experiment.hash, backend.hash)
            for variant in self._request.variants
            for backend, mode in self._request.modes
        }
        excluding: dict[str, list[str]] = {resume.ANEW: [], resume.CHANGED: []}
        for row in rows:
            cell = (row["experiment"], row["sweep_point"], row["backend"], row["mode"])
            if row["status"] != "ok":
                excluding[resume.ANEW].append(row["run"])
            elif now.get(cell) != (row["experiment_hash"], row["backend_hash"]):
                excluding[resume.CHANGED].append(row["run"])
            else:
                self._counting.setdefault(cell[:2], []).append(row)
        for why, runs in excluding.items():
            if runs:
                self._store.exclude(runs, why)

    @property
    def count(self) -> int:
        """The number of rows that count."""
        return sum(map(len, self._counting.values()))

    def take(self, run: Run) -> bool:
        """Write a run to the store, unless this command has a row of its place already; say whether it was written."""
        place = (run.experiment, run.sweep_point, run.backend, run.mode, run.round)
        if place in self._taken:
            return False
        self._store.append(run)
        self._taken.add(place)
        row = {name: getattr(run, name) for name in COLUMNS}
        self._counting.setdefault(place[:2], []).append({**row, "excluded": ""})
        return True

    def exclude(self, runs: Sequence[str], why: str) -> None:
        """Have runs count no more."""
        self._store.exclude(runs, why)
        for own in self._counting.values():
            own[:] = [row for row in own if row["run"] not in runs]

    def rows(self, variant: Variant) -> Rows:
        """The rows of a comparison that count."""
        return self._counting.get((variant.path.stem, variant.point.label), [])

    def windows(self, variant: Variant) -> Rows:
        """The windows of these runs."""
        runs = {row["run"] for row in self.rows(variant)}
        table = self._store.windows(self._session) if runs else pd.DataFrame({"run": []})
        return _records(table[table["run"].isin(runs)])

    def missing(self, variant: Variant, node: str = "") -> list[Run]:
        """The planned runs of a comparison that have no row that counts, as far as they are known before they begin.

        ``node`` is the machine that was to run them, if one was.
        """
        there = {(row["backend"], row["mode"], row["round"]) for row in self.rows(variant)}
        return [
            self._planned(variant, backend.name, backend.hash, mode, round_, node)
            for round_ in range(1, self._request.options.repeats + 1)
            for backend, mode in self._request.modes
            if (backend.name, mode, round_) not in there
        ]

    def _planned(self, variant: Variant, backend: str, backend_hash: str, mode: str, round_: int, node: str) -> Run:
        selection, options = self._request.selection, self._request.options
        return Run(
            run="",
            session=self._session,
            experiment=variant.path.stem,
            backend=backend,
            mode=mode,
            device="cpu" if selection.device == "auto" else selection.device,
            seed=variant.experiment.seed,
            round=round_,
            sweep_point=variant.point.label,
            node=node,
            experiment_hash=variant.experiment.hash,
            backend_hash=backend_hash,
            batch_size=variant.experiment.batch_size,
            epochs=variant.experiment.epochs,
            threads_asked=variant.point.threads or selection.threads or self._default_threads,
            precision_asked=selection.precision,
            stock=selection.stock,
            command=options.command,
            weights_from=selection.start.label if selection.start else "",
            target_accuracy=options.target_accuracy,
            experiment_json=variant.experiment.canonical_json(),
        )


def _records(table: pd.DataFrame) -> Rows:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
