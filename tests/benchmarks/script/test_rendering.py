"""A script is a plain program of its framework: formatted, free of lint, short, and without a trace of lockstep."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruff import find_ruff_bin
from sklearn.datasets import load_digits

from backends import contract
from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import prepare_data
from benchmarks.data import Split
from benchmarks.errors import InputError
from benchmarks.script.rendering import Script, render
from benchmarks.script.samples import rows_of
from benchmarks.spec import experiment as experiments

FRAMEWORKS = ("pytorch", "jax", "mindspore")
MODES = [(name, mode) for name in FRAMEWORKS for mode in environments.find(name).modes]
LONGEST, LONGEST_LAYER = 160, 4
"""Lines of a script, and of a layer more."""


def make(name: str, framework: str, mode: str, overrides: dict[str, Any] | None = None, **changes: Any) -> Script:
    path = experiments.find(name)
    experiment = experiments.load(path, overrides)
    sizes: dict[Split, int] = {"train": 50_000, "test": 10_000}  # of pictures, which are not here
    classes: Sequence[str] = tuple("0123456789")
    if experiment.data.name != "picture-folder":
        rows, classes = rows_of(experiment, path.parent)
        sizes = {part: len(chosen) for part, chosen in rows.items()}
    return Script(path.stem, experiment, sizes, classes, environments.find(framework), mode, 1, **changes)


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_is_a_plain_program_in_every_mode(name: str, tmp_path: Path) -> None:
    for number, (framework, mode) in enumerate(MODES):
        script = make(name, framework, mode, exact=number % 2 == 0, language="zh" if number % 2 else "en")
        program = render(script)
        compile(program, name, "exec")
        assert "lockstep" not in program
        layers = sum(1 for _ in contract.named_layers(script.experiment.model.layers))
        assert program.count("\n") <= LONGEST + LONGEST_LAYER * layers, f"{framework} {mode}"
        (tmp_path / script.file).write_text(program)
    linted = subprocess.run(
        [find_ruff_bin(), "check", "--isolated", "--line-length", "120", tmp_path], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout


def test_a_script_names_its_framework_as_the_backend_does_and_its_comments_are_in_the_language() -> None:
    program = render(make("digits-cnn", "pytorch", "eager", language="zh"))
    header = environments.find("pytorch").header
    assert f'requires-python = "{header["requires-python"]}"' in program
    assert header["dependencies"][0] in program
    assert "# 1. 数据" in program


def test_what_an_ordinary_user_would_not_do_is_marked() -> None:
    for framework, line in [
        ("pytorch", "channels_last"),
        ("mindspore", "ONEDNN_MAX_CPU_ISA"),
        ("mindspore", "launch_blocking"),
    ]:
        mode = "pynative" if framework == "mindspore" else "eager"
        lines = render(make("digits-cnn", framework, mode)).splitlines()
        (at,) = [index for index, text in enumerate(lines) if line in text][:1]
        assert "tuning" in lines[at] or "tuning" in lines[at - 1]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [("input", "loader", 'input = "loader" has no script'), ("replicas", 2, "replicas = 2 has no script")],
)
def test_what_no_script_has_is_refused_by_name(key: str, value: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        render(make("digits-cnn", "jax", "jit", {key: value}))


def test_a_part_of_a_picture_folder_has_no_script(tmp_path: Path) -> None:
    experiment = experiments.load(experiments.find("cifar10-cnn-pictures"), {"data.samples": 100})
    with pytest.raises(InputError, match="a part of a picture folder"):
        rows_of(experiment, tmp_path)


def test_the_rows_are_those_of_the_prepared_data(tmp_path: Path, cache: None) -> None:
    path = experiments.find("digits-mlp")
    experiment = experiments.load(path)
    rows, _ = rows_of(experiment, path.parent)
    for part in ("train", "validation", "test"):
        features, labels = prepare_data(experiment, path.parent, Interpreters({}, print)).load(part)
        images, digits = load_digits(return_X_y=True)
        assert np.array_equal(digits[rows[part]], labels)
        assert np.allclose(images[rows[part]] / 16, features.reshape(len(features), -1))


def test_a_name_that_is_no_python_is_made_one() -> None:
    script = replace(make("digits-mlp", "pytorch", "eager"), name='my "own"\\n{{model}}')
    program = render(script)
    compile(program, "script", "exec")
    assert '"my__own__n__model__.pt"' in program


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_text_of_an_experiment_ends_a_string_of_the_program(framework: str) -> None:
    script = make("cifar10-cnn-pictures", framework, next(iter(environments.find(framework).modes)))
    data = script.experiment.data.model_copy(update={"path": Path('my "best" \\N pictures')})
    texts = {"description": 'three """ and \\N and one "', "data": data}
    program = render(replace(script, experiment=script.experiment.model_copy(update=texts)))
    compile(program, "script", "exec")
    assert "three ''' and /N and one '." in program


def test_a_template_lies_beside_the_backend_of_a_user(tmp_path: Path) -> None:
    script = make("digits-mlp", "pytorch", "eager")
    (tmp_path / "mine.jinja").write_text("epochs = {{ experiment.epochs }}\n")
    mine = replace(script.backend, name="mine", path=tmp_path / "mine.py")
    assert render(replace(script, backend=mine)) == f"epochs = {script.experiment.epochs}\n"


def test_a_backend_without_a_template_says_where_one_would_be() -> None:
    with pytest.raises(InputError, match=r"'reference' has no template; one would be .*reference\.jinja"):
        render(make("digits-cnn", "reference", "numpy"))
