"""The summary of a session in Markdown, for a pull request or a job's page."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from results.baseline import BASELINE
from results.best import best
from results.highlights import highlights
from results.metrics import FIRST_STEP, PAID_BACK, TEST_ACCURACY, TEST_LOSS, THROUGHPUT
from results.overview import rests_on
from results.scaling import scaling_texts
from results.statistics import FOOTNOTE, GROUP, WITHOUT_INTERVAL, compare
from results.tables import (
    AT_ITS_BEST,
    COMPARISON,
    best_texts,
    heading_of,
    markdown,
    overview_table,
    proved_text,
    summary_table,
)


def summary(runs: pd.DataFrame, windows: pd.DataFrame, baseline: tuple[str, str] = BASELINE) -> str:
    """What the report's first screen says, then a table for each comparison."""
    cells = summary_table(runs, windows, baseline)
    told = [text for text in (proved_text(cells), rests_on(runs, windows, compare(runs, windows, baseline))) if text]
    sentences = [f"- {highlight.text}\n" for highlight in highlights(runs, windows, baseline)]
    parts = [f"{markdown(overview_table(cells))}\n", f"{'; '.join(told)}\n", "".join(sentences)]
    parts += _details(cells, best(runs, windows, baseline), scaling_texts(runs))
    if any(WITHOUT_INTERVAL in part for part in parts):
        parts.append(f"\\{FOOTNOTE}\n")
    return "\n".join(part for part in parts if part)


def _details(summary: pd.DataFrame, fastest: pd.DataFrame, scaled: pd.DataFrame) -> Iterator[str]:
    """One table per comparison, and scaling."""
    for _, cells in summary.groupby(COMPARISON, sort=False, dropna=False):
        metrics = [TEST_LOSS if cells[TEST_ACCURACY.column].isna().all() else TEST_ACCURACY, THROUGHPUT, FIRST_STEP]
        shown = pd.DataFrame({"backend": cells["backend"], "mode": cells["mode"]})
        for metric in metrics:
            shown[metric.heading] = cells[metric.column].map(metric.written)
        shown[PAID_BACK.label] = cells[PAID_BACK.column].fillna("-")
        shown["against the baseline"] = cells["verdict"].fillna("not compared")
        shown["remarks"] = [
            "; ".join(text for text in (problems, note) if isinstance(text, str) and text)
            for problems, note in zip(cells["problems"], cells["note"], strict=True)
        ]
        yield f"### {heading_of(cells)}\n\n{markdown(shown)}\n"
        if len(own := best_texts(fastest.merge(cells[GROUP].drop_duplicates(), on=GROUP))):
            yield f"{AT_ITS_BEST}:\n\n{markdown(own)}\n"
    if len(scaled):
        yield f"### Scaling over replicas\n\n{markdown(scaled)}\n"
