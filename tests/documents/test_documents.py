"""Figures in README and guides are those of the result sets that come with lockstep; tutorials are up to date."""

from __future__ import annotations

import pytest

from tests.documents.figures import DOCUMENTS, FIGURES, PLACE, ROOT, with_figures
from tests.documents.programs import FOLDER, programs


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_the_figures_of_the_result_sets(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert PLACE.search(text), "it has none; take it off the list"
    assert with_figures(name, text) == text, "nox -s docs writes them"


def test_a_figure_that_is_not_the_result_sets_is_replaced() -> None:
    text = "before\n<!-- figures: bench -->\n| 2x faster |\n<!-- end -->\nafter\n"
    made = with_figures("README.md", text)
    assert "| 2x faster |" not in made
    assert made.startswith("before\n<!-- figures: bench -->\n\n| backend and mode")
    assert made.endswith("\n<!-- end -->\nafter\n")


def test_the_tutorials_are_there_as_programs_that_are_up_to_date() -> None:
    written = dict(programs())
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / FOLDER).rglob("*.py")}
    assert there == set(written), "nox -s docs writes them"
    assert [name for name in there if (ROOT / name).read_text("utf-8") != written[name]] == []


def test_all_figures_stand_somewhere() -> None:
    named = {place["name"] for name in DOCUMENTS for place in PLACE.finditer((ROOT / name).read_text("utf-8"))}
    assert named == set(FIGURES)
