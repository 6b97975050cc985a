"""An environment is made from the header of a backend's file, once, and again when the header changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from backends.hosting import environments
from backends.hosting.environments import BackendFileError, EnvironmentFailed, Interpreters

FILE = """# /// script
# requires-python = ">=3.11"
# dependencies = [{dependencies}]
# ///
raise SystemExit("this file must not be imported to be listed")
class Mine(Backend):
    modes = {{"only": "the one"}}
    devices = ("cpu",)
"""


@pytest.fixture
def backend_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "environments")
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(dependencies="'iniconfig==2.0.0'"))
    return path


def version(python: Path) -> str:
    code = "import importlib.metadata; print(importlib.metadata.version('iniconfig'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_three_frameworks_and_the_reference_are_found_by_folder_listing() -> None:
    assert environments.names() == ["jax", "mindspore", "pytorch", "reference"]
    assert set(environments.find("pytorch").modes) == {"eager", "compile", "step", "aot"}
    assert set(environments.find("jax").modes) == {"jit", "scan"}
    assert set(environments.find("mindspore").modes) == {"pynative", "graph"}


def test_the_header_makes_the_environment_and_a_new_header_makes_it_anew(backend_file: Path) -> None:
    told: list[str] = []
    backend = environments.find(str(backend_file))
    assert not environments.is_ready(backend)
    python = Interpreters({}, told.append).path(backend)
    assert environments.is_ready(backend)
    assert version(python) == "2.0.0"
    assert any("iniconfig" in line for line in told)

    told.clear()
    assert Interpreters({}, told.append).path(environments.find(str(backend_file))) == python
    assert not told, "a ready environment is not made again"

    backend_file.write_text(FILE.format(dependencies="'iniconfig==2.1.0'"))
    changed = environments.find(str(backend_file))
    assert not environments.is_ready(changed)
    assert version(Interpreters({}, told.append).path(changed)) == "2.1.0"


def test_an_environment_that_cannot_be_made_is_told_with_the_resolvers_reason(backend_file: Path) -> None:
    backend_file.write_text(FILE.format(dependencies="'iniconfig==2.0.0', 'iniconfig==2.1.0'"))
    backend = environments.find(str(backend_file))
    with pytest.raises(EnvironmentFailed, match="iniconfig"):
        Interpreters({}, print).path(backend)
    assert not environments.is_ready(backend)


def test_offline_no_package_is_downloaded(backend_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentFailed, match=r"iniconfig.* network was disabled"):
        Interpreters({}, print, offline=True).path(environments.find(str(backend_file)))


def test_a_given_interpreter_is_used_instead(backend_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    backend = environments.find(str(backend_file))
    assert Interpreters({"mine": "current"}, print).path(backend) == Path(sys.executable)
    monkeypatch.setenv("LOCKSTEP_PYTHON_MINE", "current")
    assert Interpreters({}, print).path(backend) == Path(sys.executable)
    monkeypatch.setenv("LOCKSTEP_PYTHON_MINE", "/no/such/python")
    with pytest.raises(BackendFileError, match="/no/such/python"):
        Interpreters({}, print).path(backend)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class A(Backend): pass\n", "no PEP 723 header"),
        ("# /// script\n# dependencies = [\n# ///\n", "not valid TOML"),
        (
            "# /// script\n# dependencies = []\n# ///\nclass A(Backend):\n    modes = {}\n    devices = ('cpu',)\n",
            "modes",
        ),
        (
            "# /// script\n# dependencies = []\n# ///\nclass A:\n    modes = {'a': 'b'}\n    devices = ('tpu',)\n",
            "devices",
        ),
        (
            "# /// script\n# dependencies = []\n# ///\nclass A:\n    modes = {'a': 'b'}\n    devices = ('cpu',)\n"
            "    forkable = 'no'\n",
            "forkable",
        ),
        (
            "# /// script\n# dependencies = []\n# ///\nclass A:\n    modes = {'a': 'b'}\n    devices = ('cpu',)\n"
            "    modes_on_request = ('a',)\n",
            "modes_on_request",
        ),
        ("def (", "not a Python file"),
    ],
)
def test_a_file_that_is_no_backend_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(BackendFileError, match=expected) as error:
        environments.find(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["../../elsewhere", "a/b", "", "two words", "x" * 41, "new\nline"])
def test_a_mode_that_could_be_a_path_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        f"# /// script\n# dependencies = []\n# ///\nclass A:\n    modes = {{{mode!r}: 'x'}}\n    devices = ('cpu',)\n"
    )
    with pytest.raises(BackendFileError, match=r"mode .* take letters"):
        environments.read(path)
