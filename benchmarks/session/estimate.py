"""How long a bench will take, judged by what the same cells took before."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from benchmarks.session.options import LEAST_ROUNDS
from results.overview import duration

CellKey = tuple[str, str, str, int, bool]
"""Hash of the experiment, backend, mode, threads, and whether it is stock."""

_CELL = ["experiment_hash", "backend", "mode", "threads_asked", "stock"]


def estimate(earlier: pd.DataFrame, planned: Iterable[CellKey], budget: float | None = None) -> str:
    """Say in words what the planned runs will take, one entry in ``planned`` for each; ``earlier`` is a store's table.

    A run costs its process's life without the waiting for others, and without what its host had done before; the
    reference trains once for each experiment. Cells that have not run before count as the mean of the others. Rounds
    are added until the ``budget`` of seconds is spent.
    """
    runs = list(planned)
    ok = earlier[earlier["status"] == "ok"]
    once = (ok["start_seconds"] + ok["import_seconds"]).fillna(0.0) * ok["forked"].fillna(False).astype(bool)
    own = (ok["wall_seconds"] - ok["waiting_seconds"] - once).astype(float)
    medians = own.groupby([ok[name] for name in _CELL]).median().dropna()
    known = [float(medians[run]) for run in runs if run in medians.index]
    if not known and budget is not None:
        return f"about {duration(budget)}, the budget, or more if {LEAST_ROUNDS} rounds take longer"
    if not known:
        return "no estimate: none of these configurations has run here before"
    new = len({run for run in runs if run not in medians.index})
    judging = ok["judge_seconds"].astype(float).groupby(ok["experiment_hash"]).max().dropna()
    seconds = sum(known) * len(runs) / len(known) + sum(
        float(judging.get(name, 0.0)) for name in {run[0] for run in runs}
    )
    if budget is not None and budget > seconds:
        return f"about {duration(budget)}, the budget"
    note = f" (new configurations, {new} of them, count as the mean of the others)" if new else ""
    return f"about {duration(seconds)}, judged by earlier runs of the same configurations{note}"
