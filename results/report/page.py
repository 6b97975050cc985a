"""The page: texts, data and the libraries' scripts, filled into one HTML file."""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import itables
import jinja2
import pandas as pd
import vl_convert
from platformdirs import user_cache_path

from results import metrics
from results.advice import advice
from results.baseline import BASELINE
from results.errors import StoreError
from results.highlights import Highlight, highlights
from results.overview import rests_on
from results.record import Say
from results.report.data import page_data
from results.report.facts import experiments, facts, missing, problems, setting, subnormal
from results.report.language import Language, texts
from results.report.panels import Results
from results.scaling import scaling_texts
from results.statistics import FOOTNOTE, GROUP, compare
from results.tables import exclusions, write_text

MOST_PROBLEMS = 200
"""Runs that are told one by one; the table counts them all."""

OWN = Path(__file__).parent

Scripts = Sequence[Mapping[str, Any]]

TEMPLATE = "page.html.jinja"


def write(
    results: Results,
    path: Path,
    baseline: tuple[str, str] = BASELINE,
    language: Language = "en",
    scripts: Scripts = (),
) -> None:
    """Write the report of some sessions; raises StoreError if the file cannot be written."""
    write_text(render(results, baseline, language, scripts), path)


def render(
    results: Results, baseline: tuple[str, str] = BASELINE, language: Language = "en", scripts: Scripts = ()
) -> str:
    """Make the HTML page; ``baseline`` is what ratios are taken against until the reader picks another cell.

    ``scripts`` are the experiments as programs: the label of each, and title, command and program of each framework.
    """
    runs, windows, say = results.runs, results.windows, texts(language)
    return fill(
        results,
        language,
        heading=_heading(runs, say),
        setting=setting(runs, say),
        rests_on=rests_on(runs, windows, compare(runs, windows, baseline), say),
        sides=[],
        highlights=list(_linked(results, highlights(runs, windows, baseline, say))),
        data=page_data(results, baseline, say),
        scripts=scripts,
    )


def fill(results: Results, language: Language, data: dict[str, Any], **first_screen: Any) -> str:
    """Fill the template: what the first screen says, ``data`` for the script, and what is known of the runs."""
    runs, say = results.runs, texts(language)
    bad = runs[(runs["status"] != "ok") | runs["equal_work"].eq(False)]
    return _template().render(
        _=say,
        language=language,
        title=f"lockstep: {', '.join(dict.fromkeys(runs['experiment']))}"[:120],
        footnote=say(FOOTNOTE),
        advice=advice(runs, say),
        scaling=scaling_texts(runs),
        subnormal=subnormal(runs, say),
        metrics=[*metrics.METRICS, metrics.PAID_BACK],
        problems=list(problems(bad.head(MOST_PROBLEMS), results.folder)),
        missing=missing(runs, say),
        excluded=exclusions(results.excluded, say),
        commands=list(dict.fromkeys(runs["command"].dropna())),
        facts=facts(runs),
        experiments=experiments(runs),
        data=data,
        script_data=_script_safe(data),
        **first_screen,
        **_scripts(),
    )


def _heading(runs: pd.DataFrame, say: Say) -> str:
    """The question that the page answers."""
    names = list(dict.fromkeys(runs["backend"]))
    if len(names) == 1:
        return say("How fast does {backend} train?").format(backend=names[0])
    pattern = say("How fast do {backends} and {last} train the same model?")
    return pattern.format(backends=say(", ").join(names[:-1]), last=names[-1])


def _linked(results: Results, found: list[Highlight]) -> Iterator[dict[str, Any]]:
    """The sentences with the comparison and the chart that show what they say; the first one where it is of all."""
    firsts = results.runs.drop_duplicates("panel")
    panels = dict(zip(firsts[GROUP].itertuples(index=False, name=None), firsts["panel"], strict=True))
    for highlight in found:
        panel = panels.get(highlight.group, 0) if highlight.group else 0
        yield {"text": highlight.text, "panel": panel, "chart": highlight.chart, "link": bool(highlight.chart)}


def _template() -> jinja2.Template:
    """The page's template, which escapes everything that it is not told to trust."""
    loader = jinja2.PackageLoader("results.report", package_path=".")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(TEMPLATE)


@cache
def _scripts() -> dict[str, str]:
    """Scripts and styles, ours and the libraries', all to be put inside the page."""
    tables = importlib.resources.files(itables) / "html"
    return {
        "css": (OWN / "page.css").read_text("utf-8"),
        "script": (OWN / "page.js").read_text("utf-8"),
        "vega": _vega().replace("</script", "<\\/script"),
        "datatables": base64.b64encode(tables.joinpath("dt_bundle.js").read_bytes()).decode(),
        "table_css": tables.joinpath("dt_bundle.css").read_text("utf-8"),
    }


def _vega() -> str:
    """Vega-Embed with all that it needs, kept from report to report: to bundle it takes seconds."""
    kept = user_cache_path("lockstep") / f"vega-{importlib.metadata.version('vl-convert-python')}.js"
    with suppress(OSError):
        return kept.read_text("utf-8")
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with suppress(OSError, StoreError):  # without a cache it is made anew
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(bundle, kept)
    return bundle


def _script_safe(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
