"""Runs backends through the ladder in this process, and tells what caught each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks.bench import Selection, bench
from benchmarks.session import Options
from results.store import Store

EXPERIMENT = Path(__file__).parent / "everything.toml"


def run_backends(
    backends: Sequence[str],
    results: Path,
    experiment: str = str(EXPERIMENT),
    turns: int = 1,
    pythons: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Run backends (names or files) on one experiment, one thread each, and return their rows.

    Interpreters that ``pythons`` does not name are the running one.
    """
    interpreters = {**dict.fromkeys((Path(name).stem for name in backends), "current"), **(pythons or {})}
    selection = Selection(experiments=[experiment], backends=backends, overrides=dict(overrides or {}))
    bench(selection, Options(1, 1, 300, turns), interpreters, results, Console(file=io.StringIO()))
    return Store(results).runs()


def caught_by(row: pd.Series[Any]) -> str:
    """The rung that a run did not climb, or else its status; empty if it passed as good."""
    return "" if row["status"] == "ok" else str(row["rung"] or row["status"])
