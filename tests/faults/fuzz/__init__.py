"""Every way in, fuzzed with Hypothesis: whatever comes ends in one clear line and exit code 2, or is valid.

``ways_in`` is the list: a strategy for the input, and what hands it to the real command line, in this process. A way in
that a later command opens is added there, with a file of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.faults.fuzz import backend_files, commands, experiments, folders, models, pictures, stores
from tests.faults.fuzz.ground import Count, Ground
from tests.faults.fuzz.values import mutated
from tests.results.made_up import fill


@dataclass(frozen=True)
class WayIn:
    """Where input comes from, what it may look like, and what takes it."""

    name: str
    strategy: st.SearchStrategy[Any]
    take: Callable[[Ground, Any], None]
    share: float
    """Of all cases."""


def ways_in(store: bytes) -> list[WayIn]:
    """All of them; ``store`` is an intact one, to be changed."""
    texts = [text for text, _ in experiments.VALID_EXPERIMENTS]
    return [
        WayIn("experiment files, values changed", experiments.changed_experiments(), experiments.try_experiment, 0.15),
        WayIn("experiment files, bytes changed", mutated(texts), experiments.try_experiment, 0.1),
        WayIn("backend files, values changed", backend_files.changed_backends(), backend_files.try_backend, 0.1),
        WayIn("backend files, bytes changed", mutated(backend_files.BACKENDS), backend_files.try_backend, 0.05),
        WayIn("command lines", commands.COMMAND_LINES, commands.try_command, 0.15),
        WayIn("environment variables", commands.VARIABLES, commands.try_variables, 0.05),
        WayIn("results of others, rows changed", stores.changed_rows(), stores.try_rows, 0.08),
        WayIn("results of others, bytes changed", mutated([store]), stores.try_store, 0.02),
        WayIn("pictures", mutated(pictures.pictures()), pictures.try_picture, 0.05),
        WayIn("folders of data", folders.FOLDERS, folders.try_folder, 0.2),
        WayIn("kept models, description changed", models.changed_models(), models.try_model, 0.03),
        WayIn("kept models, bytes changed", mutated([models.model()]), models.try_model, 0.02),
    ]


def fuzz(folder: Path, cases: int, seed: int) -> dict[str, Count]:
    """Try so many cases in all; return what came of them by way in."""
    store = fill(folder / "made", experiments=1, rounds=2).path.read_bytes()
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}):
        return {way.name: _fuzz(way, folder / str(number), cases, seed) for number, way in enumerate(ways_in(store))}


def _fuzz(way: WayIn, folder: Path, cases: int, seed: int) -> Count:
    folder.mkdir()
    ground = Ground(folder)

    @seeded(seed)
    @settings(
        max_examples=max(1, round(cases * way.share)),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(way.strategy)
    def attempt(value: Any) -> None:
        way.take(ground, value)

    attempt()
    return ground.count
