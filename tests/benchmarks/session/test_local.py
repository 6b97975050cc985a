"""What is told of data before anything is run on this machine."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from backends.hosting.environments import Interpreters
from benchmarks.commands.bench import bench
from benchmarks.errors import DataError
from benchmarks.session.local import prepare_cells
from benchmarks.session.options import Options
from benchmarks.session.request import Selection, read


def prepare(folder: Path, selection: Selection, offline: bool = False) -> list[str]:
    request = read(selection, Options(1, offline=offline), {})
    assert request
    told: list[str] = []
    prepare_cells(request, Interpreters({}, told.append, request.options.offline), folder)
    return told


@pytest.mark.usefixtures("cache")
def test_what_was_found_and_taken_is_told_once_for_a_whole_sweep(tmp_path: Path) -> None:
    names = ["linear-regression", "digits-mlp"]
    assert prepare(tmp_path, Selection(names, ["reference"], threads=1, sweeps=["seed=1,2"])) == [
        "linear-regression: generated from seed 0: 1,000 to train on, 200 to test",
        "digits-mlp: scikit-learn's own: 1,294 to train on, 144 to validate, 359 to test; "
        "10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    ]


def test_offline_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"mnist is not in .*, and --offline "):
        prepare(tmp_path, Selection(["mnist-mlp"], ["reference"], threads=1), offline=True)
    assert not (tmp_path / "data").exists()


def test_a_plan_offline_has_the_same_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "data"))
    selection, options = Selection(["mnist-mlp"], ["reference"], threads=1), Options(1, offline=True)
    with pytest.raises(DataError, match=r"mnist is not in .*, and --offline "):
        bench(selection, options, {"reference": "current"}, tmp_path / "out", Console(file=StringIO()), dry_run=True)


def test_a_plan_says_what_would_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_DATA", str(tmp_path / "data"))
    printed = StringIO()
    selection = Selection(["cifar10-cnn"], ["reference"], threads=1)
    bench(selection, Options(1), {"reference": "current"}, tmp_path / "out", Console(file=printed), dry_run=True)
    expected = f"cifar10 is not in {tmp_path}/data/cifar-10-batches-py; to be downloaded to there: 170.5 MB, from"
    assert expected in printed.getvalue()
    assert not (tmp_path / "data").exists()
