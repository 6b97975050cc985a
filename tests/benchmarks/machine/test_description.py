"""What a row says of the machine, and of lockstep itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.machine import description


def test_the_version_of_a_clone_has_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*command: str) -> str:
        own = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *command]
        return subprocess.run(own, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "file").write_text("as committed")
    git("init", "-q")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(description, "FOLDER", tmp_path / "backends")
    monkeypatch.setattr(description, "IN_CLONE", True)
    commit = git("rev-parse", "HEAD")[:12]
    assert re.fullmatch(rf"\d+\.\d+\.\d+ {commit}", description.lockstep_version())
    (tmp_path / "file").write_text("changed")
    assert description.lockstep_version().endswith(f" {commit} with changes")


def test_without_a_clone_or_git_it_is_the_version_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "FOLDER", tmp_path / "backends")
    for in_clone in (True, False):
        monkeypatch.setattr(description, "IN_CLONE", in_clone)
        assert re.fullmatch(r"\d+\.\d+\.\d+", description.lockstep_version())
