"""The Chromium in which the report is looked at: the one that is asked for, the machine's, or Playwright's own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

ON_PATH = ("chromium", "chromium-browser", "google-chrome")

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

STILL = 60  # seconds without a new byte, after which a download is given up
LONGEST = 300  # seconds of a download: pytest ends a test after 600


class NoChromium(Exception):
    """There is none: says in one line why, and how to have one."""


class UnusableChromium(Exception):
    """$CHROMIUM does not start."""


@contextmanager
def running() -> Iterator[Browser]:
    """A browser; raises UnusableChromium if $CHROMIUM is set and no such thing, NoChromium if there is none at all."""
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        yield browser
        browser.close()


@cache
def missing() -> str | None:
    """Say in one line why there is no browser, and how to have one; an unusable $CHROMIUM is there."""
    try:
        with running():
            return None
    except NoChromium as error:
        return str(error)
    except UnusableChromium:
        return None


def _launch(playwright: Playwright) -> Browser:
    def start(path: str | None) -> Browser:
        # The channel is Playwright's own in full, which has the headless mode of the others; its default is a shell.
        channel = None if path else "chromium"
        return playwright.chromium.launch(executable_path=path, channel=channel, args=list(QUIET))

    named = os.environ.get("CHROMIUM")
    if named:
        try:
            return start(shutil.which(named) or named)
        except Error as error:
            raise UnusableChromium(f"CHROMIUM={named} does not start: {_in_a_line(error)}") from None
    reasons = []
    for path in filter(None, map(shutil.which, ON_PATH)):
        try:
            return start(path)
        except Error as error:  # Ubuntu has a chromium-browser that only says where to find one
            reasons.append(f"{path} does not start: {_in_a_line(error)}")
    with suppress(Error):
        return start(None)
    problem = install()
    if problem is None:
        try:
            return start(None)
        except Error as error:
            problem = f"does not start: {_in_a_line(error)}"
    why = "; ".join([*(reasons or ["none on PATH"]), f"Playwright's own {problem}"])
    raise NoChromium(f"no Chromium ({why}): install it (apt install chromium), or set CHROMIUM to its path")


def install() -> str | None:
    """Have Playwright download its Chromium to its usual place, if it is not there; return what went wrong."""
    command = [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
    with tempfile.TemporaryDirectory(prefix="lockstep-chromium-") as folder, tempfile.TemporaryFile("w+") as log:
        environment = {**os.environ, "TMPDIR": folder}
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            problem = _watch(process, Path(folder))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its downloads are processes of their own
                process.wait()
        if problem is None and process.returncode:
            log.seek(0)
            lines = log.read().splitlines()
            reason = next((line for line in lines if line.startswith("Error:")), lines[-1] if lines else "")
            problem = f"could not be downloaded: {_in_a_line(reason)}"
        return problem


def _watch(process: subprocess.Popen[bytes], folder: Path) -> str | None:
    """Wait until the installer has ended; return why it has to be given up.

    Without an answer from the network it would wait for minutes, and begin again several times: what it has had before
    is no progress.
    """
    begin = grown = time.monotonic()
    largest = 0
    while process.poll() is None:
        time.sleep(0.1)
        now, size = time.monotonic(), _size(folder)
        if size > largest:
            grown, largest = now, size
        if now - grown > STILL:
            return f"could not be downloaded: nothing came for {STILL} s"
        if now - begin > LONGEST:
            return f"could not be downloaded in {LONGEST} s"
    return None


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # it may go at any time
            size += path.stat().st_size
    return size


def _in_a_line(error: Error | str) -> str:
    """What matters of a message: the first line that the browser itself wrote, or else all, without its box."""
    said = re.search(r"\[err\] (.*)", str(error))
    text = said[1] if said else re.sub(r"[╔╗╚╝║═]+", " ", str(error))
    return textwrap.shorten(text.removeprefix("Error: "), 160, placeholder=" ...")
