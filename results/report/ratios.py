"""The ratios of the page: to every baseline, in numbers and in words."""

from __future__ import annotations

import math
from typing import Any

from results.best import best_all
from results.overview import Field, of_ratio
from results.record import Say
from results.report.numbers import finite, short
from results.report.panels import Results
from results.statistics import GROUP, Ratio, compare_all

Ratios = dict[int, dict[str, dict[str, Any]]]
"""By panel, baseline and cell."""


def ratios(results: Results, baseline: tuple[str, str], say: Say = str) -> Ratios:
    """The ratio of every cell to every other one of its comparison; those to ``baseline`` first."""
    found: Ratios = {}
    compared = compare_all(results.runs, results.windows)
    row: Any
    for row in compared.merge(results.runs[["panel", *GROUP]].drop_duplicates(), on=GROUP).itertuples():
        against, cell = f"{row.baseline_backend} {row.baseline_mode}", f"{row.backend} {row.mode}"
        entry = ratio_entry(cell == against, Ratio(row.ratio, row.low, row.high), row.by_round, row.note, say)
        found.setdefault(row.panel, {}).setdefault(against, {})[cell] = entry
    default = " ".join(baseline)
    return {
        panel: {name: by[name] for name in sorted(by, key=lambda name: name != default)} for panel, by in found.items()
    }


def ratio_entry(is_baseline: bool, ratio: Ratio, by_round: list[float], note: str, say: Say) -> dict[str, Any]:
    """What the page shows of a ratio: numbers, the verdict, and the two or three words of the first screen."""
    field = Field("baseline", say("baseline")) if is_baseline else of_ratio(ratio, say)
    text = say("baseline") if is_baseline else ratio.verdict(say)
    numbers = {name: short(getattr(ratio, name)) for name in ("low", "high")}
    return {
        **{"ratio": finite(ratio.value), **numbers, "rounds": [short(value) for value in by_round]},
        **{"text": text, "brief": field.text, "interval": "" if is_baseline else _interval(ratio, say)},
        **{"state": field.state, "note": note},
    }


def _interval(ratio: Ratio, say: Say) -> str:
    """From where to where, in two digits; of a slower one, how many times as slow. Empty if it has none."""
    if math.isnan(ratio.low):
        return ""
    low, high = (1 / ratio.high, 1 / ratio.low) if ratio.high < 1 else (ratio.low, ratio.high)
    return say("{low} to {high}").format(low=_short(low), high=_short(high))


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def bests(results: Results, say: Say = str) -> dict[int, dict[str, list[str]]]:
    """By panel and backend of the baseline: sentences about the other backends, each at its best."""
    found = best_all(results.runs, results.windows).merge(results.runs[["panel", *GROUP]].drop_duplicates(), on=GROUP)
    sentences: dict[int, dict[str, list[str]]] = {}
    pattern = say("each at its best: {backend} ({mode}) against {other} ({other_mode}): {verdict}")
    row: Any
    for row in found.itertuples():
        if math.isnan(row.low):
            continue  # of one round, there are no others to choose a mode on
        text = pattern.format(
            backend=row.backend,
            mode=row.mode,
            other=row.baseline_backend,
            other_mode=row.baseline_mode,
            verdict=Ratio(row.ratio, row.low, row.high).verdict(say),
        )
        sentences.setdefault(row.panel, {}).setdefault(row.baseline_backend, []).append(text)
    return sentences
