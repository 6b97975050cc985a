"""What a session says about its own noise, and what to do about it."""

from __future__ import annotations

import pandas as pd

from results.record import Say

BUSY = 0.3
"""Processors that other programs may use, or the hypervisor take, before it is told."""

SPREAD = 0.2
"""(highest - lowest) / median of the throughput of a cell's processes, before it is told."""

MISSING_THREADS = 0.5
"""Threads that a framework may leave idle at its busiest, before it is told."""

QUIET_GOVERNORS = {"performance"}


def advice(runs: pd.DataFrame, say: Say = str) -> list[str]:
    """Return a sentence for each thing that made the runs of a session noisy; ``runs`` is the table of the store."""
    return [*_neighbours(runs, say), *_processors(runs, say), *_spread(runs, say), *_drift(runs, say)]


def _neighbours(runs: pd.DataFrame, say: Say) -> list[str]:
    found = []
    others, stolen = runs["others_per_wall"].max(), runs["stolen_per_wall"].max()
    if others > BUSY:
        pattern = say("other programs kept up to {number:.1f} processors busy while windows were timed: stop them")
        found.append(pattern.format(number=others))
    if stolen > BUSY:
        pattern = say(
            "the hypervisor took up to {number:.1f} processors for other machines: use a machine of your own, or add "
            "rounds with --until"
        )
        found.append(pattern.format(number=stolen))
    return found


def _processors(runs: pd.DataFrame, say: Say) -> list[str]:
    found = []
    governors = {name for machine in runs["machine"] for name in machine.get("governors", [])}
    if governors - QUIET_GOVERNORS:
        pattern = say("the frequency governor is {governors}: set it to performance")
        found.append(pattern.format(governors=", ".join(sorted(governors))))
    throttled = runs.groupby(["experiment", "sweep_point", "round", "node"])["throttled"].max().sum()
    if throttled > 0:
        pattern = say("the processor was throttled {number:.0f} times for heat: cool it, or use fewer threads")
        found.append(pattern.format(number=throttled))
    for backend, cells in runs.groupby("backend", sort=False):
        used, asked = cells[["product_threads", "cpu_per_wall"]].max().max(), cells["threads_asked"].max()
        if used < asked - MISSING_THREADS:
            pattern = say("{backend} kept at most {used:.1f} of {asked} threads busy, even in a large matrix product")
            found.append(pattern.format(backend=backend, used=used, asked=asked))
    return found


def _spread(runs: pd.DataFrame, say: Say) -> list[str]:
    """Processes of the same cell that differ: more rounds help, more turns do not."""
    ok = runs[runs["status"] == "ok"].astype({"train_samples_per_second": float})
    cells = ok.groupby(["experiment", "sweep_point", "backend", "mode", "node"], sort=False)
    rates = cells["train_samples_per_second"].agg(["count", "min", "max", "median"])
    rates = rates[rates["count"] > 1]
    spreads = (rates["max"] - rates["min"]) / rates["median"]
    if not (spreads > SPREAD).any():
        return []
    worst = " ".join(part for part in map(str, spreads.index[int(spreads.argmax())]) if part)
    pattern = say(
        "in {number} of {all} configurations the throughputs of processes differ by more than {spread:.0%}, most in "
        "{worst} ({most:.0%}): believe the intervals, or narrow them with --until"
    )
    wide = spreads > SPREAD
    return [pattern.format(number=wide.sum(), all=len(spreads), spread=SPREAD, worst=worst, most=spreads.max())]


def _drift(runs: pd.DataFrame, say: Say) -> list[str]:
    """The machine as a whole became faster or slower: all cells of a round against the same cells of the others."""
    ok = runs[(runs["status"] == "ok") & runs["train_samples_per_second"].notna()]
    key = ["experiment", "sweep_point", "backend", "mode", "device", "node"]
    level = ok["train_samples_per_second"] / ok.groupby(key)["train_samples_per_second"].transform("median")
    rounds = level.groupby(ok["round"]).median()
    if len(rounds) < 2 or rounds.max() / rounds.min() - 1 <= SPREAD:
        return []
    pattern = say(
        "round {best} was {share:.0%} faster than round {worst} in all configurations: the machine drifts; ratios are "
        "not affected, throughputs are"
    )
    share = rounds.max() / rounds.min() - 1
    return [pattern.format(best=rounds.idxmax(), share=share, worst=rounds.idxmin())]
