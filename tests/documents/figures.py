"""Figures of README and guides, made of result sets: a document says where each is to stand, in a pair of comments."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from results import metrics
from results.overview import duration, session_seconds
from results.record import Say
from results.report.language import Language, texts
from results.statistics import GROUP, throughputs
from results.store import Store
from results.tables import markdown, overview_table, summary_table

ROOT = Path(__file__).parents[2]

DOCUMENTS: dict[str, Language] = {
    "README.md": "en",
    "README.zh-CN.md": "zh",
    "benchmarks/TUNING.md": "en",
    "results/READING.md": "en",
}
"""The documents with figures, and their languages."""

PLACE = re.compile(r"(<!-- figures: (?P<name>[^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_figures(name: str, text: str) -> str:
    """The text of a document with its figures made anew; raises KeyError if it names figures that nobody makes."""
    say = texts(DOCUMENTS[name])
    return PLACE.sub(lambda place: f"{place[1]}\n{FIGURES[place['name']](say)}\n{place[3]}", text)


@cache
def _tables(folder: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and windows of a result set."""
    store = Store(ROOT / "results" / folder)
    return store.runs(), store.windows()


def bench(say: Say) -> str:
    """Every mode in every experiment of the default bench."""
    table = overview_table(summary_table(*_tables("reference")), say)
    return markdown(table.rename(columns={"backend and mode": say("backend and mode")})) + "\n"


def bench_setting(say: Say) -> str:
    """What that bench ran on, and how long."""
    runs, windows = _tables("reference")
    versions = ", ".join(" ".join(text.split()[:2]).split("+")[0] for text in dict.fromkeys(runs["framework"]))
    machine = runs["machine"].iloc[0]
    pattern = say("{cores} cores, {cpu}, no GPU, one thread; {versions}; {runs} runs in {time}, {date}.")
    return (
        pattern.format(
            cores=machine["cores"],
            cpu=machine["cpu"],
            versions=versions,
            runs=len(runs),
            time=duration(session_seconds(runs, windows)),
            date=runs["started"].iloc[0][:10],
        )
        + "\n"
    )


def tuned_and_stock(say: Say) -> str:
    """Throughputs of the default bench with and without tuning, and their ratio."""
    columns = ["experiment", "backend", "mode"]
    both = [throughputs(*_tables(folder)).drop(columns=[*GROUP[1:]]) for folder in ("reference", "stock")]
    rows = both[0].merge(both[1], on=columns, suffixes=("", "_stock"))
    table = pd.DataFrame(
        {
            say("experiment"): rows["experiment"],
            say("backend and mode"): rows["backend"] + " " + rows["mode"],
            say("tuned"): [_interval(*row) for row in rows[["samples_per_second", "low", "high"]].to_numpy()],
            say("stock"): [
                _interval(*row) for row in rows[["samples_per_second_stock", "low_stock", "high_stock"]].to_numpy()
            ],
            say("stock / tuned"): (rows["samples_per_second_stock"] / rows["samples_per_second"]).map("{:.2f}".format),
        }
    )
    return markdown(table) + "\n"


def _interval(value: float, low: float, high: float) -> str:
    written = metrics.THROUGHPUT.written
    return f"{written(value)} ({written(low)} to {written(high)})"


def meaning_of_metrics(say: Say) -> str:
    """Every metric."""
    return metrics.markdown() + "\n"


FIGURES: dict[str, Callable[[Say], str]] = {
    "bench": bench,
    "setting of the bench": bench_setting,
    "tuned and stock": tuned_and_stock,
    "metrics": meaning_of_metrics,
}
