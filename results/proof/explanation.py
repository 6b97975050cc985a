"""The proof of a run's equal work in words: every rung that was walked, and where the losses part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from results.proof.ladder import Rung
from results.proof.parting import sentence
from results.record import judged_text


def explained(run: Any) -> Iterator[str]:
    """Lines for a row of the store."""
    yield f"{run['run']}: {run['experiment']} {run['sweep_point']}".rstrip() + f", {run['backend']} {run['mode']}"
    if not run["ladder"]:
        yield f"no rung was walked; the run is {run['status']}: {run['reason']}"
        return
    steps = judged_text(run["judged_steps"], run["epochs"] * run["steps_per_epoch"])
    yield f"judged by the float64 reference for {steps}"
    rungs = [Rung(**rung) for rung in run["ladder"]]
    yield from (f"- {rung}" for rung in rungs)
    if rungs[-1].holds:  # partings are looked for in equal work alone
        yield f"its curve {sentence(run['parting'])}" if run["parting"] else "its curve stays with the reference's"
