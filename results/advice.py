"""What a session says about its own noise, and what to do about it."""

from __future__ import annotations

import pandas as pd

BUSY = 0.3
"""Processors that other programs may use, or the hypervisor take, before it is told."""

SPREAD = 0.2
"""(highest - lowest) / median of the throughput of a cell's processes, before it is told."""

MISSING_THREADS = 0.5
"""Threads that a framework may leave idle at its busiest, before it is told."""

QUIET_GOVERNORS = {"performance"}


def advice(runs: pd.DataFrame) -> list[str]:
    """Return a sentence for each thing that made the runs of a session noisy; ``runs`` is the table of the store."""
    return [*_neighbours(runs), *_processors(runs), *_spread(runs), *_drift(runs)]


def _neighbours(runs: pd.DataFrame) -> list[str]:
    found = []
    others, stolen = runs["others_per_wall"].max(), runs["stolen_per_wall"].max()
    if others > BUSY:
        found.append(f"other programs kept up to {others:.1f} processors busy while windows were timed: stop them")
    if stolen > BUSY:
        found.append(
            f"the hypervisor took up to {stolen:.1f} processors for other machines: use a machine of your own, or "
            "add rounds with --until"
        )
    return found


def _processors(runs: pd.DataFrame) -> list[str]:
    found = []
    governors = {name for machine in runs["machine"] for name in machine.get("governors", [])}
    if governors - QUIET_GOVERNORS:
        found.append(f"the frequency governor is {', '.join(sorted(governors))}: set it to performance")
    throttled = runs.groupby(["experiment", "sweep_point", "round", "node"])["throttled"].max().sum()
    if throttled > 0:
        found.append(f"the processor was throttled {throttled:.0f} times for heat: cool it, or use fewer threads")
    for backend, cells in runs.groupby("backend", sort=False):
        used, asked = cells[["product_threads", "cpu_per_wall"]].max().max(), cells["threads_asked"].max()
        if used < asked - MISSING_THREADS:
            found.append(f"{backend} kept at most {used:.1f} of {asked} threads busy, even in a large matrix product")
    return found


def _spread(runs: pd.DataFrame) -> list[str]:
    """Processes of the same cell that differ: more rounds help, more turns do not."""
    ok = runs[runs["status"] == "ok"].astype({"train_samples_per_second": float})
    cells = ok.groupby(["experiment", "sweep_point", "backend", "mode", "node"], sort=False)
    rates = cells["train_samples_per_second"].agg(["count", "min", "max", "median"])
    rates = rates[rates["count"] > 1]
    spreads = (rates["max"] - rates["min"]) / rates["median"]
    if not (spreads > SPREAD).any():
        return []
    worst = " ".join(part for part in map(str, spreads.index[int(spreads.argmax())]) if part)
    return [
        f"in {(spreads > SPREAD).sum()} of {len(spreads)} configurations the throughputs of processes differ by "
        f"more than {SPREAD:.0%}, most in {worst} ({spreads.max():.0%}): believe the intervals, or narrow them with "
        "--until"
    ]


def _drift(runs: pd.DataFrame) -> list[str]:
    """The machine as a whole became faster or slower: all cells of a round against the same cells of the others."""
    ok = runs[(runs["status"] == "ok") & runs["train_samples_per_second"].notna()]
    key = ["experiment", "sweep_point", "backend", "mode", "device", "node"]
    level = ok["train_samples_per_second"] / ok.groupby(key)["train_samples_per_second"].transform("median")
    rounds = level.groupby(ok["round"]).median()
    if len(rounds) < 2 or rounds.max() / rounds.min() - 1 <= SPREAD:
        return []
    return [
        f"round {rounds.idxmax()} was {rounds.max() / rounds.min() - 1:.0%} faster than round {rounds.idxmin()} in all "
        "configurations: the machine drifts; ratios are not affected, throughputs are"
    ]
