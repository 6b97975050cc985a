"""The result sets that come with lockstep can be read, reported, and put beside another one."""

from __future__ import annotations

from pathlib import Path

from results import report
from results.report import differences
from tests.results.made_up import fill

RESULTS = Path(__file__).parents[3] / "results"
FOLDER = RESULTS / "reference"


def test_it_is_the_default_bench_on_all_three_frameworks() -> None:
    runs = report.read(FOLDER).runs
    assert set(runs["status"]) == {"ok"}
    assert runs["equal_work"].eq(True).all()
    assert set(runs["backend"]) == {"jax", "mindspore", "pytorch"}
    assert set(runs["experiment"]) == {"digits-cnn", "digits-mlp", "generated-mlp", "linear-regression"}


def test_what_finished_on_a_gpu_did_equal_work_there() -> None:
    runs = report.read(RESULTS / "gpu", ["20261127-135156-9260"]).runs
    finished = runs[runs["status"].eq("ok")]
    assert len(finished) == 8
    assert finished["equal_work"].eq(True).all()
    assert set(finished["device"]) == {"gpu"}
    assert set(finished["precision"]) == {"float32"}
    assert set(runs.loc[runs["status"].ne("ok"), "status"]) == {"interrupted"}


def test_it_can_be_put_beside_ones_own(tmp_path: Path) -> None:
    own = fill(tmp_path / "own")
    differences.write(report.read(FOLDER), report.read(own.folder), tmp_path / "differences.html")
    page = (tmp_path / "differences.html").read_text()
    assert "machine: cpu" in page
    assert "no configuration is in both sets" in page
