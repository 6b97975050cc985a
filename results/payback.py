"""After how many epochs a mode has paid back its compilation, against the mode of its framework that starts cheapest.

What a training cost once is all that is not steady work: C = T - N E / r, with the seconds T of its E epochs of N
samples, the first step among them, and the steady throughput r. A mode m that is faster than the cheapest one e has
paid back what it costs more after (C_m - C_e) / (N / r_e - N / r_m) epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.metrics import PAID_BACK, THROUGHPUT
from results.record import Say
from results.statistics import GROUP, Ratio, groups, ratio

PAYBACK = [*GROUP, "backend", "mode", "cheapest", "times", "epochs", "epochs_warm", PAID_BACK.column]
"""Columns of what is paid back when."""


@dataclass(frozen=True)
class _Costs:
    """Of a cell: what training costs once, in seconds, and the samples of an epoch."""

    cold: float
    """Where the compiler had nothing kept, or keeps nothing."""
    warm: float
    """Where it had; NaN if it keeps nothing, or if that was not measured."""
    samples: float


def paid_back(runs: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """Say after how many epochs every cell has paid back its compilation; what counts is as in ``statistics.compare``.

    ``runs`` and ``windows`` are the tables of the store. Returns the columns of ``PAYBACK``, a row per cell:
    ``cheapest`` is the mode that it is compared with, the one with the lowest cost in a cold run, and ``times`` its
    throughput in units of that one's; ``epochs`` are those of a cold run, rounded up, infinite for a mode that is not
    faster, ``epochs_warm`` of one whose compiler had kept its work, NaN where that cannot be told; ``paid_back`` is the
    same as people read it.
    """
    costs = _costs(runs, windows)
    rows: list[tuple[Any, ...]] = []
    for group in groups(runs, windows):
        logs = dict(zip(group.cells, group.logs, strict=True))
        for backend in dict.fromkeys(backend for backend, _ in logs):
            own = {mode: costs[*group.key, backend, mode] for name, mode in logs if name == backend}
            cheapest = _cheapest(own)
            for mode, cost in own.items():
                than = ratio(logs[backend, mode] - logs[backend, cheapest])
                found = _against(cost, than, own[cheapest], logs[backend, cheapest])
                text = "-" if mode == cheapest else written(*found)
                rows.append((*group.key, backend, mode, cheapest, than.value, *found, text))
    return pd.DataFrame(rows, columns=PAYBACK)


def _cheapest(costs: dict[str, _Costs]) -> str:
    """The mode with the lowest cold cost; one whose cost is not known only if none is."""
    return min(costs, key=lambda mode: (math.isnan(costs[mode].cold), costs[mode].cold))


def _against(cost: _Costs, found: Ratio, base: _Costs, base_logs: NDArray[np.float64]) -> tuple[float, float]:
    """Epochs until a cell has paid back what it costs more than another one, cold and warm.

    ``found`` is the ratio of its throughput to the other's, whose logs are ``[rounds, turns]``. Infinite where the cell
    is not faster, NaN where that cannot be told.
    """
    if found.low <= 1 <= found.high:
        return math.nan, math.nan
    saved = base.samples / ratio(base_logs).value * (1 - 1 / found.value)  # seconds in each epoch
    base_warm = base.cold if math.isnan(base.warm) else base.warm
    return _epochs(cost.cold - base.cold, saved), _epochs(cost.warm - base_warm, saved)


def _epochs(more: float, saved: float) -> float:
    """In how many epochs so many seconds are paid back by those that each epoch saves; none if nothing is owed."""
    if saved <= 0:
        return math.inf
    return math.nan if math.isnan(more / saved) else max(0.0, math.ceil(more / saved))


def written(cold: float, warm: float, say: Say = str) -> str:
    """The epochs as people read them: "12 epochs (3 if compiled before)", "never", "cannot tell"."""
    if math.isinf(cold):
        return say("never")
    if math.isnan(cold):
        return say("cannot tell")
    told = (say("{number} epoch") if cold == 1 else say("{number} epochs")).format(number=f"{cold:,.0f}")
    return told if math.isnan(warm) else told + say(" ({number} if compiled before)").format(number=f"{warm:,.0f}")


def _costs(runs: pd.DataFrame, windows: pd.DataFrame) -> dict[tuple[Any, ...], _Costs]:
    """The costs of each cell: the key of its comparison, backend and mode."""
    training = windows[windows["kind"] == "training"].groupby("run")[["samples", "seconds"]].sum().astype(float)
    good = runs[(runs["status"] == "ok") & runs["equal_work"].eq(True)].join(training, on="run")
    rate, samples, seconds = (good[name].astype(float) for name in (THROUGHPUT.column, "samples", "seconds"))
    good = good.assign(cost=seconds - samples / rate, per_epoch=samples / good["epochs"].astype(float))
    cell, warm = [*GROUP, "backend", "mode"], good["compiler_cache"].eq("warm")
    good = good.assign(cold=good["cost"].mask(warm), warm=good["cost"].where(warm))
    medians = good.groupby(cell, sort=False)[["cold", "warm", "per_epoch"]].median()
    return {key: _Costs(*costs) for key, *costs in medians.itertuples(name=None)}
