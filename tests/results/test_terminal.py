"""What a session prints at its end."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from results.baseline import BASELINE
from results.statistics import FOOTNOTE
from results.tables import summary_markdown
from results.terminal import print_session
from tests.results.made_up import CELLS, fill


def test_one_round_gives_ratios_and_one_footnote(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1, rounds=1)
    printed = StringIO()
    print_session(store, "s", BASELINE, Console(file=printed, width=80))
    for text in (" ".join(printed.getvalue().split()), summary_markdown(store.runs(), store.windows())):
        assert text.count("x *") == len(CELLS) - 1
        assert text.count(FOOTNOTE) == 1
        assert "mode chosen on other rounds" not in text, "there are none"


def test_several_rounds_need_no_footnote(tmp_path: Path) -> None:
    store = fill(tmp_path, experiments=1)
    printed = StringIO()
    print_session(store, "s", BASELINE, Console(file=printed, width=80))
    for text in (printed.getvalue(), summary_markdown(store.runs(), store.windows())):
        assert "*" not in text
