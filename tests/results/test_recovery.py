"""A truncated store: what can be read is kept to the bit, and the damage is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from results.errors import DamagedStoreError, StoreError
from results.recovery import recover
from results.store import Store
from tests.results.made_up import fill


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill(tmp_path_factory.mktemp("whole"), experiments=2, rounds=4)


def cut(store: Store, folder: Path, share: float) -> Store:
    folder.mkdir()
    content = store.path.read_bytes()
    (folder / store.path.name).write_bytes(content[: int(len(content) * share)])
    return Store(folder)


def text_of(table: pd.DataFrame, runs: set[str]) -> str:
    """The rows of some runs, to the bit: floats are written so that they are read again as the same."""
    return table[table["run"].isin(runs)].drop(columns="excluded", errors="ignore").to_csv(index=False)


def test_an_intact_store_is_found_intact(whole: Store) -> None:
    whole.check()


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.2, 0.05])
def test_what_can_be_read_of_a_truncated_store_is_kept_to_the_bit(whole: Store, tmp_path: Path, share: float) -> None:
    store = cut(whole, tmp_path / "cut", share)
    damaged = store.path.read_bytes()
    with pytest.raises(DamagedStoreError, match=r"end of the file is missing|malformed"):
        store.check()
    message = recover(store.path)
    store.check()
    kept, before = store.runs(), whole.runs()
    assert f"{len(kept)} runs could be read" in message
    counting = set(kept.loc[kept["excluded"] == "", "run"])
    for table, runs in (("runs", set(kept["run"])), ("epochs", counting), ("windows", counting), ("steps", counting)):
        now, then = getattr(store, table)(), getattr(whole, table)()
        assert text_of(now, runs) == text_of(then, runs), table
    assert (tmp_path / "cut" / "lockstep-damaged-1.sqlite").read_bytes() == damaged
    assert not list((tmp_path / "cut").glob(".*"))
    if share >= 0.9:
        assert len(counting) >= 0.7 * len(before), "most of the runs are far from the damage"


def test_a_recovered_store_goes_on(whole: Store, tmp_path: Path) -> None:
    store = cut(whole, tmp_path / "cut", 0.9)
    recover(store.path)
    store.begin("t", "asked")
    assert store.unfinished("asked") == ["t"]
    shutil.copy(tmp_path / "cut" / "lockstep-damaged-1.sqlite", store.path)
    recover(store.path)
    assert (tmp_path / "cut" / "lockstep-damaged-2.sqlite").exists(), "no damaged file is ever written over"


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    path = Store(tmp_path).path
    path.write_text("my diary" * 1000)
    with pytest.raises(StoreError, match="no store"):
        recover(path)
    assert path.read_text() == "my diary" * 1000
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
