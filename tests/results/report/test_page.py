"""What is written into the page: everything escaped, nothing too large, and the same figures as everywhere."""

from __future__ import annotations

import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results import report
from results.best import best
from results.errors import StoreError
from results.metrics import METRICS
from results.report.data import lines
from results.report.facts import facts
from results.report.page import render, write
from results.statistics import compare
from results.store import Store
from tests.results.made_up import CELLS, fill, make_run

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\u2028`'\"&"


def page_of(store: Store) -> str:
    return render(report.read(store.folder))


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


class Elements(HTMLParser):
    """Counts elements, and keeps the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1


def test_every_text_that_is_not_ours_is_escaped(tmp_path: Path) -> None:
    good, bad = Store(tmp_path / "good"), Store(tmp_path / "bad")
    for store, text in ((good, "harmless"), (bad, EVIL)):
        evil: dict[str, Any] = {
            "sweep_point": f"batch_size={text}",
            "reason": text,
            "failed_rung": text,
            "phase": text,
            "device": text,
            "framework": text,
            "command": text,
            "session": text,
            "status": "failed",
            "machine": {"host": text, text: text},
            "settings": {text: text},
            "experiment_json": json.dumps({text: text}),
        }
        store.append(make_run(1, text, (text, text), 1, **evil))
        (store.folder / "logs").mkdir()
        (store.folder / "logs" / "s-00001.log").write_text(text)
    harmless, html = page_of(good), page_of(bad)
    assert Elements(html).counts == Elements(harmless).counts
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert data_of(html)["rows"][0]["experiment"] == EVIL, "it is text, and all of it"


def test_each_row_has_the_command_that_needs_no_lockstep(tmp_path: Path) -> None:
    html = page_of(fill(tmp_path))
    rows = data_of(html)["rows"]
    assert "lockstep script experiment-0 --backend pytorch --mode eager" in {row["script"] for row in rows}
    assert 'id="scripts"' not in html, "none were given"


def test_a_store_from_elsewhere_cannot_show_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("nobody should read this")
    store = Store(tmp_path / "results")
    for number, log in enumerate(["../secret", str(tmp_path / "secret")]):
        store.append(make_run(number, "e", ("jax", "jit"), number, status="failed", equal_work=None, log=log))
    assert "nobody should read this" not in page_of(store)


def test_the_ratios_are_those_of_the_verdicts(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    data = data_of(page_of(store))
    found = data["panels"][0]["ratios"]["pytorch eager"]
    for row in compare(store.runs(), store.windows()).to_dict("records"):
        assert found[f"{row['backend']} {row['mode']}"]["ratio"] == pytest.approx(row["ratio"])
    assert len(data["panels"][0]["ratios"]) == len(CELLS), "any cell can be the baseline"
    assert [column["key"] for column in data["columns"] if column["number"]][:3] == [
        "ratio",
        "paid_back",
        METRICS[0].column,
    ]


def test_every_framework_can_be_the_baseline_of_frameworks_at_their_best(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    found = data_of(page_of(store))["panels"][0]["best"]
    assert {backend: len(sentences) for backend, sentences in found.items()} == {"jax": 2, "mindspore": 2, "pytorch": 2}
    row = best(store.runs(), store.windows()).set_index("backend").loc["jax"]
    assert found["pytorch"][0].startswith("each at its best: jax (scan) against pytorch (")
    assert found["pytorch"][0].endswith(f"): {row['verdict']}")


def test_the_table_tells_when_compilation_is_paid_back(tmp_path: Path) -> None:
    data = data_of(page_of(fill(tmp_path, experiments=1)))
    assert "paid back after" in [column["title"] for column in data["columns"]]
    assert {row["cell"]: row["paid_back"] for row in data["rows"]}["pytorch eager"] == [None, "starts cheapest"]


def test_modes_are_put_beside_those_that_compile_as_much(tmp_path: Path) -> None:
    step = "gather, forward, loss, backward, update"
    modes = {("pytorch", "eager"): "", ("pytorch", "step"): step, ("jax", "jit"): step, ("jax", "other"): None}
    runs = [make_run(number, "e", cell, 1, compiled=parts) for number, (cell, parts) in enumerate(modes.items())]
    Store(tmp_path).append(*runs)
    (table,) = (found for found in facts(report.read(tmp_path).runs) if found.title.startswith("What is compiled"))
    assert table.rows == [
        ("pytorch eager", "eager", ""),
        ("pytorch step", f"whole step: {step}", "jax jit"),
        ("jax jit", f"whole step: {step}", "pytorch step"),
    ]


def test_each_comparison_has_the_rows_of_its_own_runs_in_five_digits(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(6):  # comparisons take turns; the second one has no epochs
        changes: dict[str, Any] = {"epoch_rows": []} if number % 2 else {}
        store.append(make_run(number, f"e{number % 2}", ("jax", ("jit", "scan")[number // 4]), number, **changes))
    runs = store.runs()
    for panel, experiment in zip(data_of(page_of(store))["panels"], ("e0", "e1"), strict=True):
        own = runs[runs["experiment"] == experiment].drop_duplicates("mode")
        cells = [panel["cells"][number]["mode"] for number in dict.fromkeys(panel["tables"]["steps"]["cell"])]
        assert cells == list(own["mode"])
        losses = store.steps()[store.steps()["run"] == own["run"].iloc[0]]["loss"]
        assert panel["tables"]["steps"]["loss"][: len(losses)] == [float(f"{value:.5g}") for value in losses]
        assert ("loss-by-epoch" in panel["charts"]) == (experiment == "e0")


def test_the_first_screen_puts_many_comparisons_together(tmp_path: Path) -> None:
    def told(folder: Path, experiments: int, points: int) -> list[tuple[str, list[int]]]:
        store = Store(folder)
        for number in range(experiments * points):
            name, point = f"e{number // points}", f"batch_size={number % points}"
            store.append(make_run(number, name, ("jax", "jit"), 1, sweep_point=point, experiment_hash=str(number)))
        return [(line["title"], line["panels"]) for line in lines(report.read(folder))]

    assert told(tmp_path / "few", 2, 3)[:2] == [("e0 batch_size=0", [0]), ("e0 batch_size=1", [1])]
    assert told(tmp_path / "more", 2, 20) == [("e0", list(range(20))), ("e1", list(range(20, 40)))]
    assert told(tmp_path / "many", 13, 1) == [("all comparisons", list(range(13)))]


def test_the_first_line_says_what_was_compared_on_what(tmp_path: Path) -> None:
    html = page_of(fill(tmp_path, experiments=1))
    assert "How fast do jax, mindspore and pytorch train the same model?" in html
    assert "jax 1.0, mindspore 1.0, pytorch 1.0; A processor, 4 cores; cpu, 3 threads, float32" in html


def test_a_warm_compiler_cache_is_told_from_a_cold_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for round_, (cache, seconds) in enumerate([("cold", 9.0), ("warm", 0.2), ("warm", 0.4)], start=1):
        store.append(
            make_run(round_, "e", ("pytorch", "compile"), round_, compiler_cache=cache, first_step_seconds=seconds)
        )
    (row,) = data_of(page_of(store))["rows"]
    assert row["first_step_seconds"] == [pytest.approx(0.3), "0.30 (with a cold cache 9.00)"]


def test_the_experiment_on_the_page_can_be_run(tmp_path: Path) -> None:
    found = re.search(r'aria-label="Experiment file">(.*?)</pre>', page_of(fill(tmp_path, experiments=1)), re.DOTALL)
    assert found
    assert tomllib.loads(found[1]) == {"batch_size": 32}


def test_a_session_without_a_single_good_run_has_a_page(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(
        make_run(1, "e", ("jax", "jit"), 1, status="failed", equal_work=None, epoch_rows=[], window_rows=[], log="no")
    )
    assert data_of(page_of(store))["rows"][0]["work"] == "not proved"


def test_no_results_no_session_and_no_place_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results there yet"):
        report.read(tmp_path / "nothing")
    store = fill(tmp_path / "some", experiments=1, rounds=1)
    with pytest.raises(StoreError, match=r"no session t; there are s"):
        report.read(store.folder, ["t"])
    with pytest.raises(StoreError, match="No such file or directory"):
        write(report.read(store.folder), tmp_path / "missing" / "report.html")


def test_the_page_says_who_makes_0_of_subnormal_weights(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cells = {("jax", "jit"): (True, 0), ("jax", "scan"): (True, 0), ("pytorch", "eager"): (False, 900)}
    for number, (cell, (flushes, count)) in enumerate(cells.items()):
        own: dict[str, Any] = {"settings": {"flushes_subnormals": flushes}, "subnormal_weights": count}
        store.append(make_run(number, "e", cell, 1, **own))
        store.append(make_run(10 + number, "usual", cell, 1, **{**own, "subnormal_weights": 0}))
    text = page_of(store).split("<h3>Subnormal numbers</h3>")[1].split("</ul>")[0]
    assert "e on cpu, 3 threads, float32: after the last epoch, up to 900 of 1,000 weights are subnormal" in text
    assert "jax jit, jax scan made 0 of such numbers; pytorch eager kept them; both are float32" in text
    assert "usual" not in text


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1), number=st.floats(), status=st.sampled_from(["ok", "failed", "diverged"]))
def test_whatever_a_run_holds_there_is_a_page(
    text: str, number: float, status: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("any"))
    changes: dict[str, Any] = {
        "status": status,
        "reason": text,
        "test_loss": number,
        "first_step_seconds": number,
        "settings": {text: text},
    }
    store.append(make_run(1, text, (text, text), 1, **changes))
    assert data_of(page_of(store))["rows"][0]["experiment"] == text
