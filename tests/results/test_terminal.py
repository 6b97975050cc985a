"""What a session prints at its end: a look at every mode, and what stands out, in the lines of a small terminal."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from results import markdown
from results.baseline import BASELINE
from results.statistics import FOOTNOTE
from results.store import Store
from results.terminal import print_details, print_session
from tests.results.made_up import CELLS, fill, make_run

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def printed(store: Store, session: str = "s") -> str:
    text = StringIO()
    print_session(store, session, BASELINE, Console(file=text, width=80))
    return text.getvalue()


def detailed(store: Store) -> str:
    text = StringIO()
    print_details(store.runs(), store.windows(), BASELINE, Console(file=text, width=80))
    return text.getvalue()


def test_one_round_gives_ratios_and_one_footnote(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1, rounds=1)
    for text in (printed(store), detailed(store), markdown.summary(store.runs(), store.windows())):
        told = " ".join(text.split())
        assert told.count("er *") >= len(CELLS) - 1
        assert told.count(FOOTNOTE) == 1
        assert "mode chosen on other rounds" not in told, "there are none"


def test_several_rounds_need_no_footnote(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    for text in (printed(store), detailed(store), markdown.summary(store.runs(), store.windows())):
        assert "*" not in text


def test_every_mode_is_told_in_every_comparison(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    work: dict[str, Any] = {"status": "not-equivalent", "equal_work": False, "failed_rung": "loss curve"}
    store.append(make_run(90, "other", ("pytorch", "eager"), 1))
    store.append(make_run(91, "other", ("jax", "jit"), 1, **work))
    store.append(make_run(92, "other", ("jax", "scan"), 1, status="failed", equal_work=None, phase="import"))
    table = [line.split() for line in printed(store).splitlines()[1:8]]
    rows = {(backend, mode): rest for backend, mode, *rest in (row for row in table if row[0] in ("jax", "pytorch"))}
    assert rows["pytorch", "eager"] == ["baseline", "baseline"]
    assert rows["jax", "jit"] == ["1.5x", "faster", "not", "equal", "(loss", "curve)"]
    assert rows["jax", "scan"] == ["3.0x", "faster", "failed", "(import)"]
    assert rows["pytorch", "compile"] == ["cannot", "tell", "not", "run"]


def test_the_summary_of_a_default_bench_fits_a_small_terminal() -> None:
    store = Store(REFERENCE)
    lines = printed(store, store.runs()["session"].iloc[-1]).splitlines()
    assert len(lines) <= 24 - 2, "and two lines that say where the report and the results are"
    assert max(len(line) for line in lines) <= 80


def test_a_large_session_leaves_most_comparisons_to_the_report(tmp_path: Path) -> None:
    text = printed(fill(tmp_path, experiments=14, rounds=1))
    assert "experiment-11" in text
    assert "experiment-12" not in text
    assert "the first 12 of 14 comparisons; the report has them all" in text
