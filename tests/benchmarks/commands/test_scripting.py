"""``lockstep script`` as a user meets it: a program on standard output or in a file, one line for each mistake."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.command_line import CommandLine

Lockstep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    with closing(CommandLine()) as started:
        yield started


@pytest.fixture
def lockstep(tmp_path: Path, command_line: CommandLine, prepared: Path) -> Lockstep:
    environment = {**os.environ, "XDG_CACHE_HOME": str(prepared)}
    return lambda *arguments: command_line.run(["script", *arguments], tmp_path, environment)


def test_a_program_goes_to_standard_output(lockstep: Lockstep) -> None:
    ended = lockstep("linear-regression", "--backend", "pytorch", "--epochs", "7")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("# /// script\n")
    assert "EPOCHS = 7\n" in ended.stdout
    compile(ended.stdout, "script", "exec")


def test_with_exact_its_files_lie_beside_it(lockstep: Lockstep, tmp_path: Path) -> None:
    ended = lockstep(
        "digits-mlp", "--backend", "jax", "--mode", "scan", "--exact", "--output", "mlp.py", "--epochs", "2"
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "run it: uv run mlp.py"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mlp.py", "digits_mlp_weights.safetensors", "digits_mlp_order.npy", "digits_mlp_test_rows.npy"}
    order, tested = np.load(tmp_path / "digits_mlp_order.npy"), np.load(tmp_path / "digits_mlp_test_rows.npy")
    assert order.shape == (2, 1294)
    assert not set(order[0]) & set(tested), "what is tested is not trained on"
    assert load_file(tmp_path / "digits_mlp_weights.safetensors")["1.weight"].shape[1] == 64


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--backend", "pytorch", "--mode", "turbo"], "--mode turbo: pytorch has eager, compile, step, aot"),
        (["--backend", "tensorflow"], "backend 'tensorflow': there is none of this name"),
        (["--backend", "reference"], "the backend 'reference' has no template"),
        (["--backend", "jax", "--exact"], "say where with --output FILE"),
        (["--backend", "jax", "--output", "taken.py"], "there is such a file already"),
        (["--backend", "jax", "--output", "."], "this is a folder"),
        (["--backend", "jax", "--output", "jax.py"], "the script imports a module of this name"),
        (["--backend", "jax", "--output", "random.py"], "the script imports a module of this name"),
        (["--backend", "jax", "--output", "nowhere/new.py"], "there is no folder nowhere"),
        (["--backend", "jax", "--epochs", "0"], "epochs"),
        (["--backend", "jax", "--threads", "100000"], "100000"),
        ([], "Missing option '--backend'"),
    ],
)
def test_a_mistake_gets_one_line_and_writes_nothing(
    lockstep: Lockstep, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    (tmp_path / "taken.py").write_text("mine")  # and nothing else may be there afterwards
    ended = lockstep("digits-mlp", *arguments)
    assert ended.returncode == 2, ended.stdout
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken.py"]
    assert (tmp_path / "taken.py").read_text() == "mine"
