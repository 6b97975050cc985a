"""The report's charts as SVG and PNG files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import vl_convert

from results.errors import StoreError
from results.report.charts import CHARTS, ROW_HEIGHT, drawn, specification
from results.report.panels import Results
from results.report.rows import chart_tables, ratio_tables

Format = Literal["svg", "png"]

NAMES = tuple(chart.name for chart in CHARTS)

WIDTH = 520
"""Pixels of a chart that fills its place on the page."""

SCALE = 2
"""Pixels of a PNG file per pixel of the chart, for sharp text."""


def draw(results: Results, folder: Path, form: Format, names: Sequence[str] = ()) -> Iterator[Path]:
    """Draw the named charts, or all, of every comparison; yield the paths. Raises StoreError."""
    tables = chart_tables(results) | ratio_tables(results)
    for panel, label in enumerate(results.labels):
        own = {name: table[table["panel"] == panel] for name, table in tables.items()}
        yield from _draw(own, results.runs[results.runs["panel"] == panel], label, folder, form, names)


def draw_together(results: Results, folder: Path, form: Format, names: Sequence[str] = ()) -> Iterator[Path]:
    """The same with all comparisons in one picture per chart, dashed by comparison. Raises StoreError."""
    titles = dict(enumerate(results.titles))
    tables = {name: _titled(table, titles) for name, table in (chart_tables(results) | ratio_tables(results)).items()}
    label = " and ".join(dict.fromkeys(titles.values()))
    yield from _draw(tables, _titled(results.runs, titles), label, folder, form, names)


def _titled(table: pd.DataFrame, titles: dict[int, str]) -> pd.DataFrame:
    """The title of its comparison before a cell's name, and in the place of its mode."""
    title = table["panel"].map(titles)
    return table.assign(cell=title + " " + table["cell"], mode=title)


def _draw(
    tables: dict[str, pd.DataFrame], runs: pd.DataFrame, label: str, folder: Path, form: Format, names: Sequence[str]
) -> Iterator[Path]:
    cells = list(dict.fromkeys(runs["cell"]))
    for chart in drawn(tables):
        if names and chart.name not in names:
            continue
        spec = specification(chart, list(runs["backend"]))
        spec |= {"title": {"text": f"{chart.title}: {label}", "anchor": "start"}}
        spec["params"] = [{"name": "shown", "value": cells}]
        spec["datasets"] = {name: table.to_dict("records") for name, table in tables.items()}
        if chart.row_per_cell:
            spec["height"] = ROW_HEIGHT * len(cells)
        if spec.get("width") == "container":
            spec["width"] = WIDTH
        path = folder / f"{chart.name}-{_file_name(label)}.{form}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if form == "svg":
                path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
            else:
                path.write_bytes(vl_convert.vegalite_to_png(spec, scale=SCALE))
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from None
        yield path


def _file_name(label: str) -> str:
    """A part of a file's name, made of a label that may hold anything."""
    return re.sub(r"[^\w.=]+", "-", label).strip("-")[:120]
