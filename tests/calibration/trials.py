"""Trials on recorded timings: how often are equals called different, and how often is a planted slowdown found?

A recording has, for each framework, the throughput of every window of four cells: a backend, its twin under another
name, and the same backend slowed down by 5 % and by 2 %; all four are alive together and take turns, in many rounds of
fresh processes. A trial draws as many of the rounds as a session of the default bench has, and asks
``results.statistics`` for its verdict.

For frameworks at their best, the four are modes of two made-up frameworks, the slowed ones moved back to the speed of
the others; which process is which mode is drawn in every round anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.session import rounds
from benchmarks.session.options import LEAST_ROUNDS
from results.best import at_their_best
from results.statistics import Ratio, ratio

TRIALS = 2000
UNTIL_TRIALS = 500
BEST_TRIALS = 1000
UNTIL = 0.02
ROUNDS = 3
"""What a bench has at least, and on two cores by default."""
MOST_ROUNDS = 200
"""Rounds after which a trial with ``--until`` gives up."""

ORIGINAL, TWIN, SLOWER, SLIGHTLY_SLOWER = "original", "twin", "slower", "slightly_slower"
CLEARLY_SLOWER = 0.25
"""Share by which the time of one mode is longer, where modes are not equal."""

PLANTED = {SLOWER: 0.05, SLIGHTLY_SLOWER: 0.02}
"""Share by which the time of every window is made longer."""

FALSE_ALARMS, FOUND = 0.05, 0.95
"""At most so many equals may be called different, and so many of the slowdowns at least that are not left open."""


@dataclass(frozen=True)
class Calibration:
    """What the trials of one framework gave: shares of trials, and the median number of rounds with ``--until``."""

    framework: str
    rounds: int
    noise: float
    """Standard deviation between rounds of the twins' log ratio."""
    called_different: float
    found: float
    """Of the planted slowdowns that are not left open."""
    left_open: float
    """Of the planted slowdowns: "cannot tell"."""
    found_until: float
    rounds_until: float
    two_modes: float
    """Called different of frameworks that are equal at their best: two equal modes against two."""
    three_modes: float
    """Three equal modes against one."""
    slower_mode: float
    """Two against two, one of the four clearly slower."""

    @property
    def holds(self) -> bool:
        """Whether all shares are within their bounds."""
        alarms = max(self.called_different, self.two_modes, self.three_modes, self.slower_mode)
        return alarms <= FALSE_ALARMS and min(self.found, self.found_until) >= FOUND


def calibrate(framework: str, recording: pd.DataFrame, seed: int = 0) -> Calibration:
    """Run the trials of one framework; ``recording`` has the columns cell, round, turn, samples_per_second."""
    generator = np.random.default_rng(seed)
    rates = recording.pivot_table(index=["round", "turn"], columns="cell", values="samples_per_second")
    logs = {str(name): np.log(rates[name].unstack("turn").to_numpy(np.float64)) for name in rates}
    twins = logs[TWIN] - logs[ORIGINAL]
    equals = [_draw(_named_at_random(twins, generator), generator) for _ in range(TRIALS)]
    planted = [_draw(_slowed(logs, SLOWER, generator), generator) for _ in range(TRIALS)]
    until = [_until(_slowed(logs, SLIGHTLY_SLOWER, generator), generator) for _ in range(UNTIL_TRIALS)]
    modes = _equal_modes(logs)
    return Calibration(
        framework=framework,
        rounds=len(twins),
        noise=float(np.nanmedian(twins, axis=1).std(ddof=1)),
        called_different=float(np.mean([found.low > 1 or found.high < 1 for found in equals])),
        found=float(np.mean([found.high < 1 for found in planted if found.low > 1 or found.high < 1] or [False])),
        left_open=float(np.mean([found.low <= 1 <= found.high for found in planted])),
        found_until=float(np.mean([found.high < 1 for found, _ in until])),
        rounds_until=float(np.median([number for _, number in until])),
        two_modes=_best_called_different(modes, 2, 0.0, generator),
        three_modes=_best_called_different(modes, 3, 0.0, generator),
        slower_mode=_best_called_different(modes, 2, CLEARLY_SLOWER, generator),
    )


def _named_at_random(twins: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Which of two equals has which name is arbitrary, in every round anew."""
    return np.asarray(twins * generator.choice([-1.0, 1.0], (len(twins), 1)))


def _slowed(logs: dict[str, NDArray[np.float64]], slowed: str, generator: np.random.Generator) -> NDArray[np.float64]:
    """The slowed cell against the original or its twin, in every round anew, around the slowdown that was planted.

    What a few rounds measured on average is off by chance. Trials ask for the planted slowdown, so the recording is
    moved there (Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 16.4, for the translation).
    """
    either = np.where(generator.random((len(logs[slowed]), 1)) < 0.5, logs[ORIGINAL], logs[TWIN])
    log_ratios = logs[slowed] - either
    return np.asarray(log_ratios - np.nanmedian(log_ratios, axis=1).mean() - np.log1p(PLANTED[slowed]))


def _equal_modes(logs: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The four cells, moved to the mean of the original and its twin, as in ``_slowed`` ``[cells, rounds, turns]``."""
    equal = (logs[ORIGINAL] + logs[TWIN]) / 2
    return np.stack([own - np.nanmean(np.nanmedian(own - equal, axis=1)) for own in logs.values()])


def _best_called_different(
    modes: NDArray[np.float64], ours: int, slower: float, generator: np.random.Generator
) -> float:
    """How often so many of the modes are called different from the rest, the first of them being so much slower."""
    alarms = 0
    for _ in range(BEST_TRIALS):
        rounds = generator.permutation(modes.shape[1])[:ROUNDS]
        drawn = generator.permuted(np.tile(np.arange(len(modes)), (len(rounds), 1)), axis=1).T
        logs = modes[drawn, rounds]
        logs[0] -= np.log1p(slower)
        found = at_their_best(logs[:ours], logs[ours:])
        alarms += found.low > 1 or found.high < 1
    return alarms / BEST_TRIALS


def _draw(log_ratios: NDArray[np.float64], generator: np.random.Generator) -> Ratio:
    """The ratio of a session by default; each round is drawn once at most."""
    return ratio(_medians(log_ratios[generator.permutation(len(log_ratios))[:ROUNDS]]))


def _until(log_ratios: NDArray[np.float64], generator: np.random.Generator) -> tuple[Ratio, int]:
    """The same with ``--until``, which needs more rounds than were recorded: they are drawn with replacement."""
    medians = _medians(log_ratios)
    chosen = list(generator.choice(len(medians), LEAST_ROUNDS))
    found = ratio(medians[chosen])
    while not rounds.is_narrow(found, UNTIL) and len(chosen) < MOST_ROUNDS:
        chosen.append(int(generator.integers(len(medians))))
        found = ratio(medians[chosen])
    return found, len(chosen)


def _medians(log_ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """What ``ratio`` would do first, every time anew ``[rounds, 1]``."""
    return np.asarray(np.nanmedian(log_ratios, axis=1, keepdims=True))


def noise_of_windows(recording: pd.DataFrame) -> float:
    """Spread of the twins' log ratio among the turns of a round: 1.4826 x the median absolute deviation."""
    rates = recording.pivot_table(index=["round", "turn"], columns="cell", values="samples_per_second")
    logs = np.log((rates[TWIN] / rates[ORIGINAL]).unstack("turn").to_numpy(np.float64))
    return 1.4826 * float(np.nanmedian(np.abs(logs - np.nanmedian(logs, axis=1, keepdims=True))))
