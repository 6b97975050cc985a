"""How processors are split among replicas, and what a backend's file says of how its replicas are started."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.hosting import environments
from backends.hosting.environments import BackendFileError
from backends.hosting.replicas import share_of

PROCESSORS = st.lists(st.integers(0, 1000), min_size=1, max_size=40, unique=True).map(sorted)


@given(PROCESSORS, st.integers(1, 60))
def test_replicas_share_all_processors_and_each_has_one_at_least(processors: list[int], replicas: int) -> None:
    shares = [share_of(processors, place, replicas) for place in range(replicas)]
    assert {processor for share in shares for processor in share} == set(processors)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert min(map(len, shares)) >= 1
    if replicas <= len(processors):
        assert sum(map(len, shares)) == len(processors), "none belongs to two"


def test_one_replica_needs_no_launcher() -> None:
    assert environments.find("pytorch").arguments(1) == ()
    assert environments.find("pytorch").arguments(2)[0] == "2"
    assert environments.find("jax").arguments(2) == (), "one process has all replicas"


def test_a_launcher_that_is_no_tuple_of_texts_is_refused(write_backend) -> None:
    path: Path = write_backend("broken", "launcher = ('torchrun', 2)")
    with pytest.raises(BackendFileError, match="'launcher' is a tuple of texts"):
        environments.find(str(path))
