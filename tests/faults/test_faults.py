"""The quick part of ``nox -s faults``: each of these faults is really done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import processes, workers
from tests.faults.helpers import Outcome
from tests.faults.kill import kill_test

QUICK = (
    "Ctrl-C once",
    "Ctrl-C while a framework is imported",
    "disk full while writing",
)


@pytest.fixture(autouse=True, scope="module")
def cache_for_all(prepared: Path) -> Iterator[None]:
    """Have the benches of all faults share what they prepare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTS_CACHE", str(prepared))
        yield


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return workers.run(tmp_path_factory.mktemp("workers"), timeout=12)


@pytest.mark.parametrize("fault", [*(fault.description for fault in workers.FAULTS.values()), workers.HONEST_BESIDE])
def test_a_fault_of_a_worker_ends_as_a_row_and_the_others_finish(outcomes: dict[str, Outcome], fault: str) -> None:
    assert outcomes[fault].held, outcomes[fault]


@pytest.mark.parametrize("fault", [name for name in processes.FAULTS if name in QUICK])
def test_a_fault_of_the_bench_loses_nothing(tmp_path: Path, fault: str) -> None:
    try:
        outcome = processes.FAULTS[fault](tmp_path)
    except PermissionError as error:
        pytest.skip(str(error))
    assert outcome.held, outcome


def test_whatever_was_reported_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    test = kill_test(tmp_path, kills=2, seed=7, tell=print)
    assert not test.problems
    assert test.survived == test.kills == 2
