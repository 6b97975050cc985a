"""The same command continues an interrupted session: what is ok stays, and nothing else is taken for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from backends.hosting import environments
from benchmarks.commands.bench import bench
from benchmarks.session import resume, signals
from benchmarks.session.exit_codes import OK
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from results.statistics import compare
from results.store import Store

OPTIONS = Options(repeats=3, timeout=60, turns=2, judge_budget=1, peaks=False, baseline=("first", "numpy"))


@pytest.fixture
def results(tmp_path: Path, cache: None) -> Iterator[Path]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signals.install()
    yield tmp_path / "results"
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def backends(tmp_path: Path, write_backend) -> list[str]:
    """Two backends; the second one sends its parent a Ctrl-C when it is loaded for the second time, but only then."""
    body = f"""
    def load(self, job):
        loads = {str(tmp_path / "loads")!r}
        with open(loads, "a") as file:
            file.write("x")
        if os.path.getsize(loads) == 2:
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
        super().load(job)
    """
    return [str(write_backend("first")), str(write_backend("second", body))]


def run(results: Path, backends: list[str], options: Options = OPTIONS, **overrides: int) -> int:
    chosen = Selection(["linear-regression"], backends, threads=1, overrides={"epochs": 1, **overrides})
    console = Console(file=(results.parent / "console.txt").open("w"), width=300)
    return bench(chosen, options, dict.fromkeys(("first", "second"), "current"), results, console)


def dry_run(results: Path, backends: list[str], stock: bool = False) -> str:
    """Return what the plan says; nothing may be written meanwhile."""
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    chosen = Selection(["linear-regression"], backends, threads=1, stock=stock, overrides={"epochs": 1})
    console = Console(file=StringIO(), width=300)
    assert bench(chosen, OPTIONS, dict.fromkeys(("first", "second"), "current"), results, console, dry_run=True) == OK
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def interrupt(results: Path, backends: list[str]) -> pd.DataFrame:
    """Run until the Ctrl-C in the second round; return the rows."""
    with pytest.raises(signals.Interrupted):
        run(results, backends)
    return Store(results).runs()


def counting(results: Path) -> pd.DataFrame:
    runs = Store(results).runs()
    return runs[runs["excluded"] == ""]


@pytest.mark.usefixtures("page")
def test_an_interrupted_session_is_continued_where_it_stopped(results: Path, backends: list[str]) -> None:
    before = interrupt(results, backends)
    assert list(before["status"]) == ["ok"] * 2 + ["interrupted"] * 4
    assert set(before.loc[before["status"] == "interrupted", "reason"]) == {
        "stopped by Ctrl-C",
        "stopped by Ctrl-C before it began",
    }
    told = dry_run(results, backends)
    for part in ("2 of them are there already", "4 runs would be run: about", "the interrupted session"):
        assert part in told
    told = dry_run(results, backends, stock=True)
    assert "linear-regression, 1 thread, stock: first numpy" in told
    assert "6 runs would be run: no estimate" in told, "tuned runs say nothing of stock ones"
    assert "interrupted" not in told
    assert run(results, backends) == OK
    assert "continuing session" in (results.parent / "console.txt").read_text()
    after = Store(results).runs()
    assert after["session"].nunique() == 1
    pd.testing.assert_frame_equal(after.head(6).drop(columns="excluded"), before.drop(columns="excluded"))
    assert list(after["excluded"] != "") == [False] * 2 + [True] * 4 + [False] * 4
    now = counting(results)
    assert set(now["status"]) == {"ok"}
    assert sorted(zip(now["backend"], now["round"], strict=True)) == [
        (name, round_) for name in ("first", "second") for round_ in (1, 2, 3)
    ]
    assert now["resume_key"].nunique() == 6
    rounds = compare(now, Store(results).windows(), ("first", "numpy"))["rounds"]
    assert list(rounds) == [3, 3], "the interruption cut no round in two"
    assert Store(results)._select("SELECT finished FROM sessions") == [(1,)], "what is finished is not continued"
    page = (results / "report.html").read_text()
    assert "excluded: 4 runs: run again when the session was continued" in page


def test_what_has_changed_is_run_anew_and_the_old_row_stays(results: Path, backends: list[str]) -> None:
    before = interrupt(results, backends)
    file = Path(backends[1])
    file.write_text(file.read_text() + "# another version\n")
    assert run(results, backends) == OK
    after = Store(results).runs()
    pd.testing.assert_frame_equal(after.head(6).drop(columns="excluded"), before.drop(columns="excluded"))
    now = counting(results)
    assert now.loc[now["backend"] == "first", "run"].iloc[0] == before["run"].iloc[0], "it was not run again"
    old = after[(after["backend"] == "second") & (after["status"] == "ok")].iloc[0]
    assert old["excluded"] == resume.CHANGED
    assert set(now.loc[now["backend"] == "second", "backend_hash"]) == {environments.find(str(file)).hash}
    compared = compare(now, Store(results).windows(), ("first", "numpy"))
    assert list(compared.loc[compared["backend"] == "second", "rounds"]) == [2], "in round 1 they did not take turns"


def test_a_session_that_is_running_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with resume.claim(store, "asked") as running:
        with resume.claim(store, "asked") as other:
            assert other != running
        assert store.unfinished("asked") == [other, running]
    with resume.claim(store, "asked") as again:
        assert again == other


def claimed(store: Store, what: str = "asked", fresh: bool = False) -> str:
    with resume.claim(store, what, fresh) as name:
        return name


def test_a_finished_session_is_not_continued_but_measured_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = claimed(store)
    assert claimed(store) == first
    store.finish(first)
    assert claimed(store) != first


def test_fresh_starts_over_and_gives_the_interrupted_session_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = claimed(store)
    second = claimed(store, fresh=True)
    assert second != first
    assert store.unfinished("asked") == [second]


def test_another_command_continues_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert claimed(store, "this") != claimed(store, "that")


def test_a_signal_waits_for_the_end_of_what_belongs_together(results: Path) -> None:
    done: list[str] = []

    def half_and_half() -> None:
        with signals.shielded():
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.01)
            done.append("the whole")

    with pytest.raises(signals.Interrupted, match="SIGTERM") as caught:
        half_and_half()
    assert done == ["the whole"]
    assert caught.value.exit_code == 143


PLACE = resume.Place("digits-mlp", "", "jax", "jit", 3, 1)
CONTENT = resume.Content("experiment", "data", "backend", "cpu", "float32", "", False)
ENVIRONMENT: dict[str, Any] = {"installed": "jax 1", "machine": {"cpu": "this", "host": "a"}, "measured": {"turns": 20}}
OTHER: dict[str, Any] = {"experiment": "x", "point": "p", "backend": "x", "mode": "x", "threads": 2, "round": 2}


def test_the_key_changes_with_everything_that_figures_depend_on() -> None:
    keys = [resume.key(PLACE, CONTENT, **ENVIRONMENT)]
    keys += [resume.key(replace(PLACE, **{name: value}), CONTENT, **ENVIRONMENT) for name, value in OTHER.items()]
    for name in ("experiment", "data", "backend", "device", "precision", "start"):
        other: dict[str, Any] = {name: "other"}
        keys.append(resume.key(PLACE, replace(CONTENT, **other), **ENVIRONMENT))
    keys.append(resume.key(PLACE, replace(CONTENT, stock=True), **ENVIRONMENT))
    keys.append(resume.key(PLACE, CONTENT, **{**ENVIRONMENT, "installed": "jax 2"}))
    keys.append(resume.key(PLACE, CONTENT, **{**ENVIRONMENT, "machine": {"cpu": "other", "host": "a"}}))
    keys.append(resume.key(PLACE, CONTENT, **{**ENVIRONMENT, "measured": {"turns": 21}}))
    assert len(set(keys)) == len(keys) == 17


def test_the_key_is_the_same_on_the_same_machine_under_another_name() -> None:
    moved = {**ENVIRONMENT, "machine": {"cpu": "this", "host": "b"}}
    assert resume.key(PLACE, CONTENT, **moved) == resume.key(PLACE, CONTENT, **ENVIRONMENT)


def test_what_is_installed_is_read_from_the_interpreter_that_would_run() -> None:
    interpreters = environments.Interpreters({"reference": "current"}, print)
    found = interpreters.installed(environments.find("reference"))
    assert len(found) == 64
    broken = environments.Interpreters({"reference": "/bin/false"}, print)
    assert broken.installed(environments.find("reference")) == ""
