"""Rounds: after those of the plan, more are run as long as the budget lasts, or until intervals are narrow enough.

With a budget alone, how many there are depends on the time that they take, and on nothing that was measured in them: to
stop as soon as the rounds agree is to prefer those that agree by chance. ``until`` cannot but look at the width, and
pays for it (``nox -s calibrate``).
"""

from __future__ import annotations

import math

import pandas as pd

from benchmarks.session.turns import CLEAR
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


def counting(compared: pd.DataFrame) -> set[Name]:
    """The cells that have a run that counts: what fails, or is not available here, would be so in one more round."""
    return set(compared[["experiment_hash", "threads_asked", "backend", "mode"]].itertuples(index=False, name=None))


def not_narrow(compared: pd.DataFrame, until: float) -> set[Name]:
    """The cells whose intervals are too wide, with their baselines; ``compared`` is made by ``statistics.compare``."""
    names: set[Name] = set()
    for row in compared[compared["verdict"] != "baseline"].to_dict("records"):
        if not is_narrow(Ratio(row["ratio"], row["low"], row["high"]), until):
            where = row["experiment_hash"], row["threads_asked"]
            names |= {
                (*where, row["backend"], row["mode"]),
                (*where, row["baseline_backend"], row["baseline_mode"]),
            }
    return names


def noisiest_first(compared: pd.DataFrame) -> list[tuple[str, int]]:
    """Experiments and threads, those first whose turns leave most open of a ratio that is not clear anyway."""
    is_near = compared["ratio"].astype(float).between(math.exp(-CLEAR), math.exp(CLEAR))
    near = compared[is_near & (compared["verdict"] != "baseline")]
    noise = near.groupby(["experiment_hash", "threads_asked"])["turns_error"].max().sort_values(ascending=False)
    return [(str(name), int(threads)) for name, threads in noise.index]
