"""Every way in, fuzzed with Hypothesis: whatever comes ends in one clear line and exit code 2, or is valid.

``WAYS_IN`` is the list: a strategy for the input, and what hands it to the real command line, in this process. A way in
that a later command opens is added there, and nowhere else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import string
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import tomli_w
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from PIL import Image
from typer.main import get_command

from backends import environments
from benchmarks import cli, experiment
from benchmarks.data import DataError
from benchmarks.data.pictures import list_pictures, read_pictures
from benchmarks.data.spec import PictureFolder
from benchmarks.kept_models import save_model
from tests.benchmarks.test_kept_models import make_model
from tests.results.made_up import fill

VALID, NOTHING, REFUSED, RECOVERED = 0, 3, 2, 1
"""Exit codes; the last one only for a damaged store, of which what can be read is kept."""


@dataclass
class Count:
    """What came of the inputs of one way in."""

    cases: int = 0
    refused: int = 0
    valid: int = 0
    problems: list[str] = field(default_factory=list)
    """Tracebacks, more than one line, or something written although the input was refused."""


class Ground:
    """A folder with what the inputs go into, and the count of what came of them."""

    def __init__(self, folder: Path) -> None:
        """Make a small results folder and a picture folder."""
        self.folder = folder
        self.count = Count()
        self.store = fill(folder / "whole", experiments=1, rounds=2).path.read_bytes()
        for name in ("given", "other"):
            (folder / name).mkdir()
        (folder / "other" / "lockstep.sqlite").write_bytes(self.store)
        self.pictures = folder / "pictures"
        for name in ("a", "b"):
            (self.pictures / name).mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (4, 4)).save(self.pictures / name / f"{number}.png")

    def run(self, *arguments: str, variables: dict[str, str] | None = None, writes: bool = False) -> None:
        """Hand arguments to the real command line and judge what comes of them."""
        before = _listing(self.folder)
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        trouble = ""
        inside = {**variables} if variables else {}
        with (
            mock.patch.object(sys, "argv", ["lockstep", *arguments]),
            mock.patch.dict(os.environ, inside),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(self.folder),
        ):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            except BaseException as error:  # what a user would see as a traceback
                trouble = f"{type(error).__name__}: {error}"
        self.count.cases += 1
        told = code == RECOVERED and "the damaged file is now" in err.getvalue() and err.getvalue().count("\n") == 1
        if not trouble and told:
            self.count.refused += 1
        elif not trouble and code == REFUSED:
            self.count.refused += 1
            if err.getvalue().count("\n") != 1:
                trouble = f"{err.getvalue().count(chr(10))} lines: {err.getvalue()}"
            elif _listing(self.folder) != before:
                trouble = "it was refused, and something was written"
        elif not trouble and code in (VALID, NOTHING):
            self.count.valid += 1
            if not writes and _listing(self.folder) != before:
                trouble = "it only reads, and something was written"
        elif not trouble:
            trouble = f"exit code {code}: {err.getvalue()}"
        if trouble:
            self.count.problems.append(f"{' '.join(arguments)[:200]!r}: {trouble[:400]}")


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# --- experiment files -----------------------------------------------------------------------------------------------

VALID_EXPERIMENTS = [(path.read_bytes(), path.stem) for path in sorted(experiment.FOLDER.glob("*.toml"))]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 10**9, 10**12, 2**31, 2**63 - 1, 2**63]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../x", "/etc/passwd", "conv2d", "linear", "digits", "mnist", "a\0b", "\ud800"]),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def changed_experiments(draw: st.DrawFn) -> bytes:
    """A file that comes with lockstep, with some values replaced, taken away or added, at any depth."""
    import tomllib

    values: Any = tomllib.loads(draw(st.sampled_from(VALID_EXPERIMENTS))[0].decode())
    for _ in range(draw(st.integers(1, 3))):
        place = values
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else "x"
            if keys and isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            break
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "remove" and keys:
            del place[key]
        elif change == "add" and isinstance(place, dict):
            place[draw(st.text(max_size=10))] = _toml(draw(VALUES))
        elif keys:
            place[key] = _toml(draw(VALUES))
    try:
        return tomli_w.dumps(values).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError):
        return repr(values).encode("utf-8", "surrogatepass")


def _toml(value: Any) -> Any:
    """TOML has no null."""
    if isinstance(value, dict):
        return {name: _toml(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_toml(item) for item in value]
    return "" if value is None else value


def mutated(contents: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Some bytes of one of the contents replaced, taken away or added; or bytes of any kind."""

    @st.composite
    def mutate(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(st.sampled_from(list(contents))))
        for _ in range(draw(st.integers(1, 6))):
            begin = draw(st.integers(0, len(content)))
            end = min(len(content), begin + draw(st.sampled_from([0, 1, 2, 8, 100, 5000])))
            content[begin:end] = draw(st.binary(max_size=8))
        return bytes(content)

    return mutate() | st.binary(max_size=200)


def try_experiment(ground: Ground, content: bytes) -> None:
    """Plan a bench of the file."""
    (ground.folder / "given" / "mine.toml").write_bytes(content)
    ground.run(
        "run",
        "given/mine.toml",
        "--backend",
        "reference",
        "--python",
        "reference=current",
        "--dry-run",
        "--results",
        "other",
    )


# --- backend files --------------------------------------------------------------------------------------------------

BACKENDS = [path.read_bytes() for path in sorted(environments.FOLDER.glob("*.py"))]


@st.composite
def changed_backends(draw: st.DrawFn) -> bytes:
    """A file with a header, modes and devices that are nearly right."""
    header = draw(
        st.sampled_from(
            [
                "# dependencies = []",
                "# requires-python = 3",
                "# tool = 1",
                "#",
                "# [tool.lockstep]",
                "# tool.lockstep.gpu-dependencies = 7",
                "x",
            ]
        )
    )
    names = st.text(max_size=12) | st.sampled_from(["../../x", "a/b", "a\0b", "\n", "eager", "x" * 300])
    modes = draw(st.dictionaries(names, st.text(max_size=10), max_size=3) | VALUES)
    devices = draw(st.sampled_from(["('cpu',)", "('cpu', 'gpu')", "'cpu'", "(1,)", "[]", "('cpu', [])", "{}"]))
    text = f"# /// script\n{header}\n# ///\nclass A:\n    modes = {modes!r}\n    devices = {devices}\n"
    return text.encode("utf-8", "surrogatepass")


def try_backend(ground: Ground, content: bytes) -> None:
    """Plan a bench with the file; it is read, and not run."""
    (ground.folder / "given" / "mine.py").write_bytes(content)
    ground.run(
        "run",
        "linear-regression",
        "--backend",
        "given/mine.py",
        "--python",
        "mine=current",
        "--dry-run",
        "--results",
        "other",
    )


# --- the command line and the environment ---------------------------------------------------------------------------

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
    ["run", "run", "run", "table", "runs", "log", "retire", "predict", "report", "list", "schema", "bogus"]
)
COMMAND_LINES = st.tuples(COMMANDS, st.lists(WORDS, max_size=6))


def try_command(ground: Ground, line: tuple[str, list[str]]) -> None:
    """Run a command line; nothing is trained, and what writes what it is told to write is left out."""
    command, words = line
    with tempfile.TemporaryDirectory() as elsewhere:
        fixed = {"run": ["--dry-run"], "report": ["--output", f"{elsewhere}/page.html"]}.get(command, [])
        if command == "retire":
            words = [*words, "--results", elsewhere]
        ground.run(command, *fixed, *words)


VARIABLES = st.dictionaries(
    st.sampled_from(
        [
            "LOCKSTEP_DATA",
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


# --- results of others ----------------------------------------------------------------------------------------------


@st.composite
def changed_rows(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """Changes of a store that SQLite itself finds nothing wrong with: (table, column, value)."""
    document = st.tuples(st.just("document"), st.sampled_from(DOCUMENT_KEYS), VALUES)
    cell = st.tuples(
        st.sampled_from(["epochs", "windows", "losses", "runs", "retired", "sessions"]),
        st.sampled_from(
            [
                "run",
                "epoch",
                "kind",
                "turn",
                "seconds",
                "kept",
                "steps",
                "samples",
                "npy",
                "reference_npy",
                "session",
                "document",
                "why",
                "test_loss",
            ]
        ),
        st.one_of(
            st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=10), st.binary(max_size=150)
        ),
    )
    return draw(st.lists(document | cell, min_size=1, max_size=3))


DOCUMENT_KEYS = [
    "run",
    "session",
    "experiment",
    "backend",
    "mode",
    "device",
    "seed",
    "round",
    "point",
    "status",
    "phase",
    "reason",
    "together",
    "batch_size",
    "test_accuracy",
    "train_samples_per_second",
    "confusion",
    "ladder",
    "machine",
    "settings",
    "gpu",
    "threads",
    "threads_asked",
    "replicas",
    "precision",
    "framework",
    "command",
    "log",
    "experiment_json",
    "first_step_seconds",
    "comparable",
    "compiler_cache",
    "started",
    "rung",
]


def try_rows(ground: Ground, changes: list[tuple[str, str, Any]]) -> None:
    """Put a changed store beside an intact one, and make its report."""
    path = ground.folder / "given" / "lockstep.sqlite"
    path.write_bytes(ground.store)
    connection = sqlite3.connect(path)
    for table, column, value in changes:
        with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
            if table == "document":
                (text,) = connection.execute("SELECT document FROM runs WHERE rowid = 2").fetchone()
                changed = json.dumps({**json.loads(text), column: value}, default=str)
                connection.execute("UPDATE runs SET document = ? WHERE rowid = 2", (changed,))
            else:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 2", (value,))  # noqa: S608
    connection.commit()
    connection.close()
    _read_everything(ground)


def try_store(ground: Ground, content: bytes) -> None:
    """The same with a file that is no store, or a broken one; what is told about a broken one ends with exit code 1."""
    path = ground.folder / "given" / "lockstep.sqlite"
    path.write_bytes(content)
    _read_everything(ground)


def _read_everything(ground: Ground) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        ground.run("report", "other", "given", "--output", f"{elsewhere}/differences.html")


# --- pictures -------------------------------------------------------------------------------------------------------


def _pictures() -> list[bytes]:
    found = []
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        Image.new("RGB", (6, 5), (200, 30, 40)).save(buffer, form)
        found.append(buffer.getvalue())
    return found


def try_picture(ground: Ground, content: bytes) -> None:
    """Read a folder of pictures with this one among them."""
    file = ground.pictures / "a" / "0.png"
    file.write_bytes(content)
    spec = PictureFolder(name="picture-folder", path=ground.pictures, size=(4, 4))
    ground.count.cases += 1
    try:
        source = read_pictures(spec, list_pictures(spec, ground.folder))
        for part in (source.train, source.test):
            part.rows(_all(len(part.labels)))
        ground.count.valid += 1
    except DataError as error:
        ground.count.refused += 1
        if "\n" in str(error):
            ground.count.problems.append(f"several lines: {error}")
    except Exception as error:
        ground.count.problems.append(f"{content[:40]!r}: {type(error).__name__}: {error}")


def _all(samples: int) -> Any:
    import numpy as np

    return np.arange(samples)


# --- kept models ----------------------------------------------------------------------------------------------------


def _model() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_model(make_model("linear-regression"), Path(folder) / "model.safetensors")
        return (Path(folder) / "model.safetensors").read_bytes()


@st.composite
def changed_models(draw: st.DrawFn) -> bytes:
    """A model whose description says something else: other metadata, other tensors."""
    content = _model()
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    places = [header["__metadata__"], *(header[name] for name in header if name != "__metadata__"), header]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places))
        key = draw(st.sampled_from([*place, "extra"]))
        place[key] = draw(VALUES.map(str) | VALUES if place is places[0] else VALUES)
    text = json.dumps(header, default=str).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def try_model(ground: Ground, content: bytes) -> None:
    """Plan a bench that starts from it."""
    (ground.folder / "given" / "model.safetensors").write_bytes(content)
    by = ["--backend", "reference", "--python", "reference=current"]
    start = ["--from", "given/model.safetensors"]
    ground.run("run", "linear-regression", *by, *start, "--dry-run", "--results", "other")


# --- the list -------------------------------------------------------------------------------------------------------


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
    return [
        WayIn("experiment files, values changed", changed_experiments(), try_experiment, 0.2),
        WayIn(
            "experiment files, bytes changed", mutated([text for text, _ in VALID_EXPERIMENTS]), try_experiment, 0.15
        ),
        WayIn("backend files, values changed", changed_backends(), try_backend, 0.1),
        WayIn("backend files, bytes changed", mutated(BACKENDS), try_backend, 0.05),
        WayIn("command lines", COMMAND_LINES, try_command, 0.2),
        WayIn("environment variables", VARIABLES, try_variables, 0.05),
        WayIn("results of others, rows changed", changed_rows(), try_rows, 0.08),
        WayIn("results of others, bytes changed", mutated([store]), try_store, 0.02),
        WayIn("pictures", mutated(_pictures()), try_picture, 0.1),
        WayIn("kept models, description changed", changed_models(), try_model, 0.03),
        WayIn("kept models, bytes changed", mutated([_model()]), try_model, 0.02),
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
