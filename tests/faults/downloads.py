"""Faults of a download: the server does not answer, or what it sends is not what was published.

The real torchvision asks a server of our own; it checks what it gets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from tests.faults.helpers import Bench, Outcome, clean

WRAPPER = """#!{python}
import runpy, sys
from torchvision import datasets
datasets.FashionMNIST.mirrors = [{mirror!r}]
sys.argv = sys.argv[2:]  # what is called with -I
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class _Garbage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Send something that is no data set."""
        self.send_response(200)
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(b"not what was published" * 1000)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def wrong_checksum(folder: Path) -> Outcome:
    """The server sends something else."""
    server = HTTPServer(("127.0.0.1", 0), _Garbage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        return _download(folder, f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()


def no_answer(folder: Path) -> Outcome:
    """There is no server."""
    return _download(folder, "http://127.0.0.1:9/")


def _download(folder: Path, mirror: str) -> Outcome:
    real = Interpreters({}, lambda text: None).path(environments.find("pytorch"))
    wrapper = folder / "python"
    wrapper.write_text(WRAPPER.format(python=real, mirror=mirror))
    wrapper.chmod(0o700)
    bench = Bench(folder, variables={"LOCKSTEP_DATA": str(folder / "data"), "LOCKSTEP_PYTHON_PYTORCH": str(wrapper)})
    code, output = bench.run("fashion-mnist-mlp")
    last = output.strip().splitlines()[-1]
    told = "to be downloaded to there: 30.9 MB" in output and "could not be downloaded" in last
    nothing_left = not (folder / "out").exists() and not list((folder / "data").rglob("*"))
    return Outcome(last[:90], code, "nothing was there", code == 2 and clean(output) and told and nothing_left)


FAULTS: dict[str, Callable[[Path], Outcome]] = {
    "data set: wrong checksum": wrong_checksum,
    "data set: the download fails": no_answer,
}
