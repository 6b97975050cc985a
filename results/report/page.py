"""The page: texts, data and the libraries' scripts, filled into one HTML file."""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.resources
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import itables
import jinja2
import vl_convert
from platformdirs import user_cache_path

from results import metrics
from results.advice import advice
from results.baseline import BASELINE
from results.errors import StoreError
from results.report.data import page_data
from results.report.facts import experiments, facts, missing, problems, subnormal
from results.report.panels import Results
from results.scaling import scaling_texts
from results.tables import exclusions, write_text

MOST_PROBLEMS = 200
"""Runs that are told one by one; the table counts them all."""

OWN = Path(__file__).parent


def write(results: Results, path: Path, baseline: tuple[str, str] = BASELINE) -> None:
    """Write the report of some sessions; raises StoreError if the file cannot be written."""
    write_text(render(results, baseline), path)


def render(results: Results, baseline: tuple[str, str] = BASELINE) -> str:
    """Make the HTML page; ``baseline`` is what ratios are taken against until the reader picks another cell."""
    runs = results.runs
    sessions = list(dict.fromkeys(runs["session"]))
    bad = runs[(runs["status"] != "ok") | runs["equal_work"].eq(False)]
    return template("page.html.jinja").render(
        title=f"lockstep: {', '.join(dict.fromkeys(runs['experiment']))}"[:120],
        subtitle=f"{len(runs)} runs of {_count(len(results.labels), 'comparison')}, "
        f"{_count(len(sessions), 'session')}: {', '.join(sessions[:5])}; {runs['machine'].iloc[0].get('cpu', '')}",
        advice=advice(runs),
        scaling=scaling_texts(runs),
        subnormal=subnormal(runs),
        metrics=[*metrics.METRICS, metrics.PAID_BACK],
        problems=list(problems(bad.head(MOST_PROBLEMS), results.folder)),
        missing=missing(runs),
        excluded=exclusions(results.excluded),
        commands=list(dict.fromkeys(runs["command"].dropna())),
        facts=facts(runs),
        experiments=experiments(runs),
        data=_script_safe(page_data(results, baseline)),
        **_scripts(),
    )


def template(name: str) -> jinja2.Template:
    """A page's template, which escapes everything that it is not told to trust; ``css`` is known in it."""
    loader = jinja2.PackageLoader("results.report", package_path=".")
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    pages.globals["css"] = (OWN / "page.css").read_text("utf-8")
    return pages.get_template(name)


@cache
def _scripts() -> dict[str, str]:
    """Scripts, ours and the libraries', and the table's style, all to be put inside the page."""
    tables = importlib.resources.files(itables) / "html"
    return {
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


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
