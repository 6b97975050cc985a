"""Installed from a wheel, lockstep writes nothing beside other packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHERE = """
from backends.hosting.environments import ENVIRONMENTS
from benchmarks.session.pasting import RESULTS
print(ENVIRONMENTS, RESULTS.resolve(), sep="\\n")
"""


def test_results_go_to_where_it_is_run_and_environments_to_the_cache(tmp_path: Path) -> None:
    packages, here = tmp_path / "packages", tmp_path / "here"
    here.mkdir()
    for name in ("backends", "benchmarks", "results"):  # what the wheel has
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("*.sqlite", "out", "__pycache__"))
    own = {**os.environ, "PYTHONPATH": str(packages), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    shown = subprocess.run([sys.executable, "-c", WHERE], cwd=here, env=own, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(tmp_path / "cache/lockstep/environments"), str(here / "results/out")]
