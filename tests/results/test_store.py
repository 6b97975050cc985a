"""The store keeps whole runs, from any number of writers, and gives back what was put in."""

from __future__ import annotations

import io
import multiprocessing
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results import tables
from results.errors import StoreError
from results.record import Epoch, Run, Window
from results.store import Store


def a_run(name: str, **values: Any) -> Run:
    run = Run(run=name, session="s", experiment="e", backend="b", mode="m", device="cpu", seed=1, round=1)
    run.status = "ok"
    run.train_samples_per_second = 10.0
    run.settings = {"threads": 4}
    run.epoch_rows = [Epoch(0, test_loss=2.0), Epoch(1, train_loss=1.5, test_loss=1.0)]
    run.window_rows = [Window("timed", 1, 0.5, 10, 320, 0.25, True)]
    run.losses = np.array([2.5, 1.25, np.nan], np.float32)
    return replace(run, **values)


def test_what_is_appended_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert store.runs().empty
    assert not store.folder.exists(), "reading makes nothing"
    store.append(a_run("r1"))
    store.append(a_run("r2", session="t", reason="<b>&'\"\n"))
    runs = store.runs()
    assert list(runs["run"]) == ["r1", "r2"]
    assert runs["settings"].iloc[0] == {"threads": 4}
    assert runs["reason"].iloc[1] == "<b>&'\"\n"
    assert list(store.runs("t")["run"]) == ["r2"]
    assert list(store.epochs()["test_loss"]) == [2.0, 1.0, 2.0, 1.0]
    assert store.windows()["seconds"].iloc[0] == 0.25
    np.testing.assert_array_equal(store.steps()["loss"][:3], np.array([2.5, 1.25, np.nan], np.float32))


@pytest.mark.parametrize("judged", [np.empty((0, 2)), np.array([[2.5, 1e-6]]), np.array([[2.5, 1.25], [1e-6, 2e-6]]).T])
def test_the_losses_of_each_run_stand_beside_the_references(judged: np.ndarray, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("short", losses=np.empty(0, np.float32)))
    store.append(a_run("r1", reference_losses=judged))
    steps = store.steps()
    assert list(steps["run"]) == ["r1"] * 3
    assert list(steps["step"]) == [1, 2, 3]
    unjudged = np.full((3 - len(judged), 2), np.nan)
    np.testing.assert_array_equal(steps[["reference_loss", "tolerance"]], np.vstack([judged, unjudged]))


def test_losses_that_are_objects_are_not_read(tmp_path: Path) -> None:
    store, pickled = Store(tmp_path), io.BytesIO()
    store.append(a_run("r1"))
    np.save(pickled, np.array([store], object), allow_pickle=True)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE losses SET npy = ?", (pickled.getvalue(),))
    with pytest.raises(StoreError, match="losses of run r1 are not readable: an array of object"):
        store.steps()


def test_text_that_no_file_could_hold_is_made_one_that_can(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1", reason="half a pair: \ud800, a whole one: \U0001f600"))
    assert store.runs()["reason"].iloc[0] == "half a pair: ?, a whole one: \U0001f600"


def test_a_row_that_is_older_than_a_column_has_its_default(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1"))
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET document = json_remove(document, '$.models', '$.weights_from')")
    assert store.runs()[["models", "weights_from"]].to_dict("records") == [{"models": {}, "weights_from": ""}]


def test_a_run_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1"))
    broken = a_run("r2")
    broken.epoch_rows.append(Epoch(1))  # the same epoch twice
    with pytest.raises(StoreError, match="UNIQUE"):
        store.append(broken)
    assert list(store.runs()["run"]) == ["r1"]
    assert set(store.epochs()["run"]) == {"r1"}


def _write_many(folder: Path, writer: int) -> None:
    for number in range(25):
        Store(folder).append(a_run(f"{writer}-{number}"))


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, writer)) for writer in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(Store(tmp_path).runs()) == 50
    assert len(Store(tmp_path).epochs()) == 100


def test_a_store_of_a_newer_version_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1"))
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = store.path.read_bytes()
    for use in (store.runs, store.check, lambda: store.append(a_run("r2")), lambda: store.exclude(["r1"], "why")):
        with pytest.raises(StoreError, match=r"newer lockstep \(format 99; .*update lockstep"):
            use()
    assert store.path.read_bytes() == before


FORMER_NAMES = {
    "comparable": "equal_work",
    "harness_seconds": "bookkeeping_seconds",
    "key": "resume_key",
    "point": "sweep_point",
    "rung": "failed_rung",
    "together": "comparison",
}
FORMER_VALUES: dict[str, Any] = {
    "equal_work": False,
    "bookkeeping_seconds": 0.5,
    "resume_key": "a key",
    "sweep_point": "batch_size=64",
    "failed_rung": "loss curve",
    "comparison": "r1",
}


def make_older(store: Store) -> None:
    """Turn a store into what format 1 was."""
    with sqlite3.connect(store.path) as connection:
        connection.executescript("DROP TABLE sessions; DROP TABLE excluded; PRAGMA user_version = 1;")


def test_a_store_of_an_older_version_can_be_read_and_is_migrated_when_it_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1"))
    make_older(store)
    before = store.path.read_bytes()
    assert list(store.runs()["run"]) == ["r1"]
    assert store.unfinished("asked") == []
    assert store.path.read_bytes() == before, "reading changes nothing"
    store.exclude(["r1"], "a test")
    store.append(a_run("r2"))
    assert list(store.runs()["excluded"]) == ["a test", ""]
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def make_format_2(store: Store) -> None:
    """Turn a store into what format 2 was: some columns and a table had other names."""
    with sqlite3.connect(store.path) as connection:
        for run, document in connection.execute("SELECT run, document FROM runs").fetchall():
            for before, now in FORMER_NAMES.items():
                document = document.replace(f'"{now}":', f'"{before}":')
            connection.execute("UPDATE runs SET document = ? WHERE run = ?", (document, run))
        connection.executescript("ALTER TABLE excluded RENAME TO retired; PRAGMA user_version = 2;")


def test_columns_that_were_renamed_are_read_and_the_store_is_migrated_when_it_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(replace(a_run("r1"), **FORMER_VALUES), a_run("r2"))
    store.exclude(["r2"], "a test")
    now = store.runs()
    make_format_2(store)
    before = store.path.read_bytes()
    pd.testing.assert_frame_equal(store.runs(), now)
    assert store.path.read_bytes() == before, "reading changes nothing"
    store.append(a_run("r3"))
    pd.testing.assert_frame_equal(store.runs().head(2), now)
    store.exclude(["r3"], "another test")
    assert list(store.runs()["excluded"]) == ["", "a test", "another test"]


@pytest.mark.parametrize(("before", "now"), [("planned", "not started"), ("harness", "bookkeeping"), ("put", "put")])
def test_phases_that_were_renamed_are_read_under_their_new_names(tmp_path: Path, before: str, now: str) -> None:
    store = Store(tmp_path)
    store.append(replace(a_run("r1"), phase=before))
    assert list(store.runs()["phase"]) == [now]


def test_a_session_is_unfinished_until_it_is_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.unfinished("this") == []
    for session, asked in (("s1", "this"), ("s2", "that"), ("s3", "this")):
        store.begin(session, asked)
    assert store.unfinished("this") == ["s3", "s1"]
    store.finish("s3")
    assert store.unfinished("this") == ["s1"]


def test_an_excluded_run_stays_as_it_was_with_the_first_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1"), a_run("r2"))
    before = store.runs()
    store.exclude(["r2"], "the machine was busy")
    store.exclude(["r2"], "another reason")
    assert list(store.runs()["excluded"]) == ["", "the machine was busy"]
    pd.testing.assert_frame_equal(store.runs().drop(columns="excluded"), before.drop(columns="excluded"))
    assert set(store.epochs()["run"]) == {"r1", "r2"}


def test_nothing_is_left_of_a_store_whose_making_was_killed(tmp_path: Path) -> None:
    Store(tmp_path).path.touch()  # the moment between the file and its first transaction
    assert Store(tmp_path).runs().empty
    Store(tmp_path).append(a_run("r1"))
    assert list(Store(tmp_path).runs()["run"]) == ["r1"]


def test_a_file_that_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    Store(tmp_path).path.write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(StoreError, match=r"lockstep\.sqlite"):
        Store(tmp_path).runs()


def test_the_copies_hold_every_row_and_column(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(a_run("r1"))
    paths = tables.export(store)
    assert {path.name for path in paths} == {
        f"{name}.{ending}" for name in ("runs", "epochs", "windows", "steps") for ending in ("csv", "parquet")
    }
    assert list(pd.read_csv(tmp_path / "runs.csv").columns) == list(store.runs().columns)
    assert pd.read_parquet(tmp_path / "runs.parquet")["settings"].iloc[0] == '{"threads": 4}'
    assert not list(tmp_path.glob(".*"))


def test_the_copies_are_written_into_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    store = Store(tmp_path / os.fsdecode(b"r\xe9sultats"))
    store.append(a_run("r1"))
    assert all(path.exists() for path in tables.export(store))
