"""What applies to all cells of a session: rounds, turns, budgets, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from results.baseline import BASELINE

JUDGE_BUDGET = 24.0
"""Seconds of processor time that the float64 reference and its copies may train for one experiment, unless the options
say otherwise: 12 s where two processors are idle."""

LEAST_ROUNDS = 3
"""Rounds at least, however small the budget is: fewer give no interval to speak of."""

BUDGET = 5.5
"""Minutes that a command spends on measuring, unless the options say otherwise."""

BUDGET_UNTIL = 30.0
"""The same with a width that intervals have to reach."""

TURNS = 10
"""Timed windows of each worker in a round, more where they are noisy, unless the options say otherwise."""


@dataclass(frozen=True)
class Options:
    """What applies to all cells of a session."""

    repeats: int = LEAST_ROUNDS
    """Rounds that are planned: every cell runs once in each, in a fresh process."""
    timeout: float = 3600.0
    """Seconds that one run may work."""
    turns: int = TURNS
    """Timed windows of each worker in a round, more where they are noisy; 0 walks the ladder only."""
    judge_budget: float = JUDGE_BUDGET
    peaks: bool = True
    """Whether to measure what the machine can do at most."""
    baseline: tuple[str, str] = BASELINE
    """Backend and mode that ratios are taken against."""
    target_accuracy: float | None = None
    """Test accuracy, from 0 to 1, whose time is taken."""
    until: float | None = None
    """Add rounds until every interval of a ratio is at most this wide, as a share of the ratio."""
    budget: float | None = None
    """Seconds of the session that are spent on rounds beyond the planned ones; None adds none.

    With ``until``, rounds are added until the intervals are narrow, else as long as the next one is expected to end
    in time.
    """
    command: str = ""
    """What was typed, for the report."""
    log_every: int | None = None
    """Also tell the loss every so many batches, and the scores after every epoch."""
    keep_models: bool = False
    """Whether to keep the best and the last weights of every run."""
    fresh: bool = False
    """Give up an interrupted session that could be continued."""
    offline: bool = False
    """Download nothing."""

    @property
    def adds_rounds(self) -> bool:
        """Whether more rounds may be run than the plan has."""
        return self.budget is not None

    @property
    def spent(self) -> float | None:
        """Seconds that the session takes at least, as rounds are added to fill them; None if they are not."""
        return self.budget if self.until is None else None

    @property
    def rounds(self) -> dict[str, Any]:
        """Those that say how many rounds there are."""
        return {name: getattr(self, name) for name in ("repeats", "until", "budget")}

    @property
    def measured(self) -> dict[str, Any]:
        """Those that say what is measured in a run."""
        return {
            name: getattr(self, name) for name in ("turns", "judge_budget", "peaks", "target_accuracy", "keep_models")
        }
