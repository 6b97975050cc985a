"""A script is a plain program of its framework: formatted, free of lint, short, and without a trace of lockstep."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruff import find_ruff_bin

from backends import contract
from backends.hosting import environments
from benchmarks.data.prepare import split_rows
from benchmarks.errors import InputError
from benchmarks.script.rendering import Script, available, render
from benchmarks.spec import experiment as experiments

FRAMEWORKS = ("pytorch", "jax", "mindspore")
MODES = [(name, mode) for name in FRAMEWORKS for mode in environments.find(name).modes]
DIGITS, PICTURES = (1438, 359), (50_000, 10_000)
"""Training and test samples of sets that a specification does not tell."""

LONGEST, LONGEST_LAYER = 160, 4
"""Lines of a script, and of a layer more."""


def make(name: str, framework: str, mode: str, overrides: dict[str, Any] | None = None, **changes: Any) -> Script:
    path = experiments.find(name)
    experiment = experiments.load(path, overrides)
    spec = experiment.data
    script = Script(path.stem, experiment, {}, (), environments.find(framework), mode, 1, **changes)
    if spec.name == "digits":
        there = DIGITS
    elif spec.name == "picture-folder":
        there = PICTURES
    else:
        there = available(script, "train"), available(script, "test")
    rows = {part: len(chosen) for part, chosen in split_rows(spec, experiment.validation, *there).items()}
    classes = () if spec.is_regression else tuple(map(str, range(spec.outputs or 10)))
    return replace(script, sizes=rows, classes=classes)


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


def test_a_part_of_a_picture_folder_has_no_script() -> None:
    with pytest.raises(InputError, match="a part of a picture folder"):
        render(make("cifar10-cnn-pictures", "jax", "jit", {"data.samples": 100}))


def test_a_backend_without_a_template_says_where_one_would_be() -> None:
    with pytest.raises(InputError, match=r"'reference' has no template; one would be .*reference\.jinja"):
        render(make("digits-cnn", "reference", "numpy"))
