"""What a backend imports from beside it belongs to it; what its environment brings does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.hosting import environments, sources

IMPORTS = {
    "import": "import helper",
    "import from": "from helper import thing",
    "import in a function": "def load():\n    import helper",
    "by importlib": "spec_from_file_location('helper', Path(__file__).with_name('helper.py'))",
    "of a package": "from parts.helper import thing",
    "of a package's module": "from parts import helper",
    "through another one": "import between",
    "relative, in a package": "import parts.between",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "between.py").write_text("from helper import thing")
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "between.py").write_text("from . import helper")
    for path in (tmp_path / "helper.py", tmp_path / "parts" / "helper.py"):
        path.write_text("thing = 1")
    return tmp_path


@pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS)
def test_a_backend_is_another_one_when_what_it_imports_from_beside_it_changes(folder: Path, text: str) -> None:
    path = folder / "mine.py"
    path.write_text(text)
    before = sources.identity(path)
    for helper in (folder / "helper.py", folder / "parts" / "helper.py"):
        helper.write_text("thing = 2")
    assert sources.identity(path) != before


def test_what_is_not_imported_or_not_beside_it_changes_nothing(folder: Path) -> None:
    path = folder / "mine.py"
    path.write_text("import numpy, sys\nimport mine\nfrom between_the_lines import helper")
    before = sources.identity(path)
    (folder / "helper.py").write_text("thing = 2")
    assert sources.identity(path) == before
    assert sources.own(path) == {"mine.py": path.read_bytes()}


def test_files_that_import_each_other_or_are_no_python_are_read_once(folder: Path) -> None:
    path = folder / "mine.py"
    path.write_text("import helper, between")
    (folder / "helper.py").write_text("import between, mine")
    (folder / "between.py").write_text("this is no Python")
    assert list(sources.own(path)) == ["mine.py", "between.py", "helper.py"]


def test_it_is_the_same_in_another_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = folder / "mine.py"
    path.write_text("import helper, parts.between")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, content in sources.own(path).items():
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (elsewhere / name).write_bytes(content)
    assert sources.identity(elsewhere / "mine.py") == sources.identity(path)


def test_the_reference_is_made_of_its_folder_as_well() -> None:
    found = [
        file.relative_to(environments.FOLDER).as_posix()
        for file in sources.imported(environments.FOLDER / "reference.py")
    ]
    assert {"contract.py", "float64/layers.py", "float64/training.py"} <= set(found)
