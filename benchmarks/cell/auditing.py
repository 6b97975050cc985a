"""How a worker is audited: it trains a few more steps at the very end, and shows its parameters in between."""

from __future__ import annotations

import numpy as np

from backends.contract import Adam, Parameters
from benchmarks.cell.divergence import need_finite, need_finite_weights
from benchmarks.cell.materials import Materials
from benchmarks.cell.timing import TRIES, TimedWindows
from benchmarks.spec.shapes import parameter_shapes
from benchmarks.worker.conversation import Conversation
from results.proof.audit import Audit
from results.proof.checks import SLOWEST_AUDIT
from results.record import WindowKind

WHEN = "in the audit after the last epoch"

QUEUED = 3
"""Calls of ``train``, of one step each, that the audit makes before it synchronizes."""


def audit(conversation: Conversation, materials: Materials, windows: TimedWindows) -> Audit:
    """Have the worker train once more as in a timed window; again if that was slower than when it was timed."""
    for _ in range(TRIES):
        shown = _audit_once(conversation, materials, windows)
        if not windows.seconds or shown.seconds <= SLOWEST_AUDIT * float(np.median(windows.seconds)):
            break
    return shown


def _audit_once(conversation: Conversation, materials: Materials, windows: TimedWindows) -> Audit:
    """Train one step, a few that are queued, and what a timed window trains."""
    order = np.load(materials.batches, mmap_mode="r", allow_pickle=False)
    steps_before = conversation.steps
    parameters, losses, start = {0: _shown(conversation, materials)}, [], 0
    requests: list[tuple[WindowKind, int, int]] = [
        ("audit-step", 1, 1),
        ("audit-step", 1, QUEUED),
        ("audit", windows.call_steps, windows.calls),
    ]
    for kind, steps, calls in requests:
        shown, seconds = conversation.train("ladder", kind, 0, start, steps, calls)
        need_finite(shown, "the training loss", WHEN)
        losses.append(shown)
        start += steps * calls
        parameters[start] = _shown(conversation, materials)
        need_finite_weights(parameters[start], parameter_shapes(materials.experiment.model), WHEN)
    rows = np.arange(start) % len(order)
    rates = np.load(materials.rates)[rows] if materials.experiment.schedule else None
    return Audit(list(order[rows]), np.concatenate(losses), parameters, seconds, rates, steps_before)


def _shown(conversation: Conversation, materials: Materials) -> Parameters:
    """The parameters, and Adam's moments."""
    shown = conversation.parameters()
    return {**shown, **conversation.moments()} if isinstance(materials.experiment.optimizer, Adam) else shown
