"""Rounds: the plan has as many as were asked for; those of a cell go on as long as its ratio is not known well enough.

By default that is judged by the noise of the turns, which says nothing of how far the rounds are apart. To stop as soon
as the rounds agree is to prefer those that agree by chance. ``until`` cannot but look at the width, and pays for it
(``nox -s calibrate``).
"""

from __future__ import annotations

import pandas as pd

from benchmarks.session.turns import CLEAR, SURE_ENOUGH
from results.statistics import Ratio

UNTIL_MARGIN = 0.9
"""Rounds are added until intervals are so many times as wide as what was asked for, for the reason that is told above.

Chow and Robbins, "On the asymptotic theory of fixed-width sequential confidence intervals", 1965.
"""

Name = tuple[str, int, str, str]
"""Hash of the experiment, threads, backend and mode."""


def is_narrow(found: Ratio, until: float) -> bool:
    """Whether the interval of a ratio is as narrow as was asked for; a single round has none."""
    return found.width <= UNTIL_MARGIN * until


def is_noisy(log_ratio: float, turns_error: float) -> bool:
    """Whether turns did not suffice to tell a cell from its baseline; ``turns_error`` is ``statistics.turns_error``.

    A ratio that is far from one is known: nobody asks who is faster.
    """
    return abs(log_ratio) < CLEAR and turns_error > SURE_ENOUGH


def going_on(compared: pd.DataFrame, until: float | None) -> set[Name]:
    """The cells whose ratios are not known, with their baselines; ``compared`` is made by ``statistics.compare``."""
    names: set[Name] = set()
    for row in compared[compared["verdict"] != "baseline"].to_dict("records"):
        found = Ratio(row["ratio"], row["low"], row["high"])
        if is_noisy(found.log, row["turns_error"]) if until is None else not is_narrow(found, until):
            where = row["experiment_hash"], row["threads_asked"]
            names |= {
                (*where, row["backend"], row["mode"]),
                (*where, row["baseline_backend"], row["baseline_mode"]),
            }
    return names
