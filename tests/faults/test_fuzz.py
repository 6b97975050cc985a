"""The quick part of the fuzzing of ``nox -s faults``; and sizes that are refused before any memory is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.commands.bench import bench
from benchmarks.errors import InputError
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from tests.faults.fuzz import fuzz
from tests.faults.helpers import EXPERIMENT


def test_whatever_comes_in_is_refused_in_one_line_or_valid(tmp_path: Path) -> None:
    counts = fuzz(tmp_path, cases=300, seed=1)
    assert {name: count.problems for name, count in counts.items() if count.problems} == {}
    assert sum(count.cases for count in counts.values()) >= 290
    assert sum(count.valid for count in counts.values()) >= 15, "a fuzzer that is only refused tests one line"


@pytest.mark.parametrize(
    ("old", "new", "figures"),
    [
        (
            "outputs = 1 }]",
            "outputs = 65536 }, { layer = 'linear', outputs = 65536 }]",
            ["4,295,229,440", "250,000,000"],
        ),
        ("outputs = 1 }]", "outputs = 1000000000000 }]", ["65536", "1000000000000"]),
        ("batch_size = 10", "batch_size = 201", ["201", "200"]),
        ("epochs = 1", "epochs = 1000000000", ["10000", "1000000000"]),
        ("samples = 200,", "samples = 1000000000000,", ["1000000", "1000000000000"]),
    ],
)
def test_a_size_out_of_bounds_is_refused_with_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, figures: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert old in EXPERIMENT
    (tmp_path / "large.toml").write_text(EXPERIMENT.replace(old, new))
    with pytest.raises(InputError) as error:
        plan(tmp_path, [str(tmp_path / "large.toml")])
    for figure in figures:
        assert figure in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_plan_of_a_million_cells_is_refused_with_the_figure(tmp_path: Path) -> None:
    seeds = f"seed={','.join(map(str, range(1000)))}"
    with pytest.raises(InputError, match="1,000,000 points"):
        plan(tmp_path, ["digits-mlp"], sweeps=[seeds, f"epochs={','.join(map(str, range(1, 1001)))}"])
    with pytest.raises(InputError, match=r"1,000,000 runs .*more than 100,000"):
        plan(tmp_path, ["linear-regression"], repeats=1000, sweeps=[seeds])


def plan(folder: Path, experiments: list[str], repeats: int = 1, sweeps: list[str] | None = None) -> int:
    selection = Selection(experiments, ["reference"], threads=1, sweeps=sweeps or ())
    return bench(selection, Options(repeats), {"reference": "current"}, folder / "out", Console())
