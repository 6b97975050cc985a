"""The result set that comes with lockstep can be read, reported, and put beside another one."""

from __future__ import annotations

from pathlib import Path

from results import report
from results.report import differences
from tests.results.made_up import fill

FOLDER = Path(__file__).parents[3] / "results" / "reference"


def test_it_is_the_default_bench_on_all_three_frameworks() -> None:
    runs = report.read(FOLDER).runs
    assert set(runs["status"]) == {"ok"}
    assert runs["equal_work"].eq(True).all()
    assert set(runs["backend"]) == {"jax", "mindspore", "pytorch"}
    assert set(runs["experiment"]) == {"digits-cnn", "digits-mlp", "generated-mlp", "linear-regression"}


def test_it_can_be_put_beside_ones_own(tmp_path: Path) -> None:
    own = fill(tmp_path / "own")
    differences.write(report.read(FOLDER), report.read(own.folder), tmp_path / "differences.html")
    page = (tmp_path / "differences.html").read_text()
    assert "The machines differ." in page
    assert "No configuration is in both sets." in page
