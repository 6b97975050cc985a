"""What the tests in a browser do where there is none, in processes that see none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.results.report import chromium


def look_at_the_report(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the first tests in a browser where no program is on PATH, and Playwright has nothing and reaches nobody."""
    hidden = {
        "PATH": str(folder),
        "PLAYWRIGHT_BROWSERS_PATH": str(folder),
        "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:1",
    }
    kept = {name: value for name, value in os.environ.items() if name != "CHROMIUM"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "screen_says or stands_out"]
    return subprocess.run(
        [*command, str(Path(__file__).with_name("test_browser.py"))],
        env={**kept, **hidden, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_any_they_are_left_out_with_a_line_that_says_why_and_how_to_have_them(tmp_path: Path) -> None:
    ended = look_at_the_report(tmp_path)
    assert ended.returncode == 0, ended.stdout
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("SKIPPED")]
    assert line.startswith("SKIPPED [2]")
    assert "none on PATH; Playwright's own could not be downloaded: " in line
    assert "apt install chromium" in line


def test_one_that_is_asked_for_and_does_not_start_is_an_error(tmp_path: Path) -> None:
    ended = look_at_the_report(tmp_path, CHROMIUM=str(tmp_path / "chromium"))
    assert ended.returncode == 1, ended.stdout
    assert f"CHROMIUM={tmp_path / 'chromium'} does not start" in ended.stdout
    assert "2 errors" in ended.stdout


def test_one_on_path_that_does_not_start_is_passed_over(tmp_path: Path) -> None:
    stub = tmp_path / "chromium-browser"
    stub.write_text("#!/bin/sh\necho 'install the snap' >&2\nexit 1\n")
    stub.chmod(0o755)
    ended = look_at_the_report(tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert f"({stub} does not start: install the snap; Playwright's own could not be downloaded" in ended.stdout


def test_a_download_that_does_not_begin_is_given_up_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chromium, "STILL", 10)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert chromium.install() == "could not be downloaded: nothing came for 10 s"
        silent.settimeout(0)
        asking, _ = silent.accept()
        with asking:
            asking.settimeout(10)
            while asking.recv(4096):  # what it asked for, and then the end: nobody is there any more
                pass
