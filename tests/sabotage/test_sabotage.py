"""Every sabotaged backend is caught, by the rung that fits; the honest one beside them is not."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

from backends.hosting import environments
from tests.sabotage.runner import caught_by, run_saboteurs
from tests.sabotage.saboteurs import MINT, SABOTEURS, Saboteur

pytestmark = pytest.mark.alone  # a saboteur that computes in secret is seen where nothing else computes


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.DataFrame]:
    folder = tmp_path_factory.mktemp("sabotage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield run_saboteurs(SABOTEURS, folder)


@pytest.mark.parametrize("saboteur", SABOTEURS, ids=lambda saboteur: saboteur.name)
def test_a_saboteur_is_caught(rows: pd.DataFrame, saboteur: Saboteur) -> None:
    (row,) = rows[rows["backend"] == saboteur.name].to_dict("records")
    assert caught_by(row) == saboteur.caught, row["reason"]
    assert saboteur.reason in row["reason"]
    assert not row["equal_work"]


def test_the_honest_reference_passes(rows: pd.DataFrame) -> None:
    honest = rows[rows["backend"] == "reference"]
    with_and_without_timed_windows = [
        "everything",
        "everything",
        "vanishing",
        "zero",
        "models",
        "models",
        "adam",
        "adam",
    ]
    assert list(honest["experiment"]) == with_and_without_timed_windows
    assert honest["status"].eq("ok").all()
    assert honest["equal_work"].all()


def test_mindspores_mint_sgd_under_pynative_is_caught(tmp_path, monkeypatch, interpreters) -> None:
    """In MindSpore 2.10 it trains nothing on the CPU: the very first step says so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = interpreters.path(environments.find("mindspore"))
    rows = run_saboteurs([MINT], tmp_path, {MINT.name: str(python)})
    (row,) = rows[rows["backend"] == MINT.name].to_dict("records")
    assert caught_by(row) == MINT.caught
    assert MINT.reason in row["reason"]
