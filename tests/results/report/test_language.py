"""The page in Chinese: all of it that is ours is translated, and nothing is translated that is not on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from results import report
from results.metrics import METRICS
from results.report import differences, page
from results.report.charts import CHARTS
from results.report.language import catalog
from results.store import Store
from tests.results.made_up import fill, make_run

ROOM = Path(report.__file__).parents[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Whatever a page can tell: other work, failures, noise, replicas, partings, subnormal weights, other settings."""
    store = fill(tmp_path / "results", experiments=2)
    parting: dict[str, Any] = {"step": 7, "before": 1e-7, "distance": 1e-4}
    decision = {"step": 6, "layer": 4, "kind": "ReLU", "sample": 3, "place": [1], "margin": 0.5}
    cells: list[tuple[str, dict[str, Any]]] = [
        ("cheat", {"status": "not-equivalent", "equal_work": False, "failed_rung": "loss curve"}),
        ("broken", {"status": "failed", "equal_work": None, "phase": "import", "reason": "no module"}),
        ("noisy", {"others_per_wall": 2.0, "stolen_per_wall": 2.0, "throttled": 3, "threads": 1}),
        ("parted", {"parting": parting}),
        ("explained", {"parting": {**parting, "decision": decision}, "subnormal_weights": 9}),
        ("warm", {"compiler_cache": "warm", "settings": {"flushes_subnormals": True}, "subnormal_weights": 3}),
        ("shared", {"replicas": 2, "product_threads": 1.0, "judged_steps": 9, "steps_per_epoch": 70}),
    ]
    for number, (mode, changes) in enumerate(cells):
        for round_ in (1, 2, 3):
            store.append(make_run(1000 + 10 * number + round_, "experiment-0", ("pytorch", mode), round_, **changes))
    return store


def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every text that a page asks the translation of, the page of one result set and that of two."""
    found: set[str] = set()

    def say(text: str) -> str:
        found.add(text)
        return catalog("zh").get(text, text)

    for module in (page, differences):
        monkeypatch.setattr(module, "texts", lambda language: say)
    results = report.read(store.folder)
    page.render(results, language="zh")
    differences.write(results, results, store.folder / "differences.html", "zh")
    return found


def test_every_text_of_the_page_is_translated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"jax", "mindspore", "pytorch", "1.0", "", "lockstep"}  # of runs
    untranslated = {text for text in asked(store, monkeypatch) if text not in catalog("zh")} - values
    assert {text for text in untranslated if not re.match(r"^(machine|asked|experiment-\d|jax|pytorch)", text)} == set()


def test_every_translation_is_of_a_text_of_the_page() -> None:
    texts = {f"{metric.heading}{end}" for metric in METRICS for end in ("", " (logarithmic)")}
    texts |= {chart.caption for chart in CHARTS}
    for path in (*ROOM.rglob("*.py"), *(ROOM.parent / "tests" / "documents").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        texts |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    texts |= {text.replace("_", " ") for text in texts}
    template = (ROOM / "report" / "page.html.jinja").read_text("utf-8")
    assert {text for text in catalog("zh") if text not in texts and text not in template} == set()


def test_a_translation_has_the_same_places_for_values() -> None:
    for text, translation in catalog("zh").items():
        places = [sorted(re.findall(r"\{[^}]*\}", one)) for one in (text, translation)]
        assert places[0] == places[1], text


def test_the_page_says_which_language_it_is_in(store: Store) -> None:
    results = report.read(store.folder)
    html = page.render(results, language="zh")
    assert '<html lang="zh">' in html
    assert "jax、mindspore和 pytorch 训练同一个模型各有多快" in html
    assert '<html lang="en">' in page.render(results)
