"""The command line and the environment."""

from __future__ import annotations

import string
import tempfile

from hypothesis import strategies as st
from typer.main import get_command

from benchmarks import cli
from tests.faults.fuzz.ground import Ground

OPTIONS = sorted(
    {
        option
        for command in get_command(cli.app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    | {"--", "-x", "--help"}
)
WORDS = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(
        [
            "digits-mlp",
            "linear-regression",
            "reference",
            "pytorch",
            "numpy",
            "cpu",
            "gpu",
            "1",
            "0",
            "2%",
            "batch_size=1,2",
            "sgd.momentum=0.5",
            "threads=1,2",
            "layers=1",
            "reference=current",
            "other",
            "nowhere",
            "given",
            "s",
            "s-00001",
            "csv",
            "local:0",
            "json",
            "..",
            "/",
            "",
            "1e400",
            "999999999999",
        ]
    ),
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.tuples(st.text(string.ascii_letters + "_.", max_size=12), st.text(max_size=12)).map("=".join),
).map(lambda word: word.replace("\0", ""))
COMMANDS = st.sampled_from(
    ["run", "run", "run", "table", "runs", "log", "exclude", "predict", "report", "list", "schema", "bogus"]
)
COMMAND_LINES = st.tuples(COMMANDS, st.lists(WORDS, max_size=6))


def try_command(ground: Ground, line: tuple[str, list[str]]) -> None:
    """Run a command line; nothing is trained, and what writes what it is told to write is left out."""
    command, words = line
    with tempfile.TemporaryDirectory() as elsewhere:
        fixed = {"run": ["--dry-run"], "report": ["--output", f"{elsewhere}/page.html"]}.get(command, [])
        if command == "exclude":
            words = [*words, "--results", elsewhere]
        ground.run(command, *fixed, *words)


VARIABLES = st.dictionaries(
    st.sampled_from(
        [
            "LOCKSTEP_DATA",
            "LOCKSTEP_OFFLINE",
            "LOCKSTEP_PYTHON_REFERENCE",
            "LOCKSTEP_PYTHON_PYTORCH",
            "XDG_CACHE_HOME",
            "COLUMNS",
            "TERM",
            "HOME",
            "NO_COLOR",
            "FORCE_COLOR",
            "PATH",
            "LINES",
        ]
    ),
    (
        st.text(max_size=20)
        | st.sampled_from(["current", "/", "/dev/null", "/etc/passwd", "~nobody", "-1", "0", "other"])
    ).map(lambda text: text.replace("\0", "").encode("utf-8", "replace").decode()),
    min_size=1,
    max_size=4,
)


def try_variables(ground: Ground, variables: dict[str, str]) -> None:
    """Plan a bench, and list what there is, under these environment variables."""
    ground.run(
        "run",
        "fashion-mnist-mlp",
        "linear-regression",
        "--backend",
        "reference",
        "--dry-run",
        "--results",
        "other",
        variables=variables,
    )
