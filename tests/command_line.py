"""Commands of lockstep in processes of their own, which are copies of one that has imported what the commands import.

``python -m tests.command_line`` is that process: each line of its input is a command, and each line of its output an
exit code. It has run no command itself; the copies have arguments, folder, environment, output and exit code like any
process that a user starts, which takes seconds to import the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]

REAL = [sys.executable, "-c", "from benchmarks.cli import main; main()"]
"""A command line that imports what it needs itself; its arguments follow."""


class CommandLine:
    """The process that commands are copied from; it ends with this one."""

    def __init__(self) -> None:
        """Start it; it imports when it has the first command."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_line"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: list[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with its output as text."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            outputs = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (stdout, stderr)]
            code = self._ask(arguments=arguments, folder=str(folder), environment=dict(environment), outputs=outputs)
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(arguments, code, *texts)

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _ask(self, **command: Any) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve() -> None:
    """Copy this process for each command, and tell its exit code."""
    import altair  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.datasets  # noqa: F401

    from benchmarks import cli  # noqa: F401
    from benchmarks.commands import bench  # noqa: F401
    from results import report  # noqa: F401

    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(**command)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> NoReturn:
    """Run the command in this process, and end it as an interpreter does."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in [(nothing, 0), *((os.open(path, os.O_WRONLY), n) for n, path in enumerate(outputs, 1))]:
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["lockstep", *arguments]
    code: object = 0
    try:
        from benchmarks.cli import main

        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve()
