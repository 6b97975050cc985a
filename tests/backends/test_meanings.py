"""What backends/MEANINGS.md says of the frameworks is what they do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from tests.backends.meanings import in_lockstep

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "backends" / "MEANINGS.md"
BACKENDS = {"torch": "pytorch", "jax": "jax", "mindspore": "mindspore"}
HEADER = ["word", *BACKENDS, "lockstep"]

Cells = dict[tuple[str, str], str]
"""By row and framework."""


@pytest.fixture(scope="module")
def measured(interpreters: Interpreters, tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """What the scripts in meanings/ print, each in a process of its own, one beside the other."""
    running = {}
    for framework, backend in BACKENDS.items():
        running[framework] = subprocess.Popen(
            [interpreters.path(environments.find(backend)), "-m", f"tests.backends.meanings.in_{framework}"],
            cwd=tmp_path_factory.mktemp(framework),  # where MindSpore leaves files
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    printed = {framework: process.communicate() for framework, process in running.items()}
    found: Cells = {}
    for framework, (output, errors) in printed.items():
        assert running[framework].returncode == 0, errors
        found |= {(row, framework): cell for row, cell in json.loads(output).items()}
    return found


def written() -> Cells:
    """What the tables say."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|---")]
    rows = [row for row in rows if row != HEADER]
    assert len({row[0] for row in rows}) == len(rows), "a word stands in two rows"
    return {(row[0], name): row[HEADER.index(name)] for row in rows for name in HEADER[1:]}


def test_every_cell_is_what_was_measured(measured: Cells) -> None:
    cells = {key: cell for key, cell in written().items() if key[1] in BACKENDS}
    wrong = [
        f"{row} | {framework}: measured {measured.get((row, framework), 'nothing')!r}, "
        f"written {cells.get((row, framework), 'nothing')!r}"
        for row, framework in {**cells, **measured}
        if measured.get((row, framework)) != cells.get((row, framework))
    ]
    assert not wrong, "\n".join(["backends/MEANINGS.md:", *wrong])


def test_the_reference_computes_what_the_column_lockstep_says() -> None:
    cells = written()
    found = in_lockstep.cells()
    assert found == {row: cells.get((row, "lockstep")) for row in found}


def test_the_page_is_short() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120
