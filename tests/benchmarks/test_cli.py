"""The command line as a user meets it: in a process of its own, with exit codes, and one line for each mistake."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from benchmarks import cli
from benchmarks.cell.kept_models import save_model
from benchmarks.spec import experiment as experiments
from results.store import Store
from tests.benchmarks.cell.test_kept_models import make_model
from tests.command_line import CommandLine
from tests.results.made_up import fill, make_run

Ended = subprocess.CompletedProcess[str]
Lockstep = Callable[..., Ended]

HEAVY = {"PIL", "altair", "numpy", "pandas", "pyarrow", "safetensors", "scipy", "sklearn", "vl_convert"}
"""Packages that take tenths of a second or more to import; numpy is the least of them."""


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    with closing(CommandLine()) as started:
        yield started


@pytest.fixture
def environment(prepared: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return {**kept, "XDG_CACHE_HOME": str(prepared)}


@pytest.fixture
def lockstep(tmp_path: Path, command_line: CommandLine, environment: dict[str, str]) -> Lockstep:
    """A command whose process has imported everything before."""

    def lockstep(*arguments: str) -> Ended:
        return command_line.run([*arguments], tmp_path, environment)

    return lockstep


@pytest.fixture
def fresh_lockstep(tmp_path: Path, environment: dict[str, str]) -> Lockstep:
    """The command as it is installed, in an interpreter that it starts."""

    def fresh_lockstep(*arguments: str, **variables: str) -> Ended:
        command = [str(Path(sys.executable).with_name("lockstep")), *arguments]
        own = {**environment, **variables}
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=300)

    return fresh_lockstep


def assert_one_line(ended: Ended, *expected: str) -> None:
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr + ended.stdout
    for part in expected:
        assert part in ended.stderr


def imported(ended: Ended) -> set[str]:
    """The packages that were imported, of a process that was started with PYTHONPROFILEIMPORTTIME."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "typer" in names, "the imports are told"
    return names


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--epochs", "0"], ["epochs", "greater than or equal to 1"]),
        (["--epochs", "many"], ["epochs", "integer"]),
        (["--nonsense"], ["--nonsense"]),
        (["--device", "tpu"], ["tpu", "cpu"]),
        (["--backend", "tensorflow"], ["tensorflow", "pytorch"]),
        (["--backend", "missing.py"], ["missing.py", "No such file"]),
        (["--mode", "turbo"], ["turbo", "eager"]),
        (["--threads", "100000"], ["100000", "processors"]),
        (["--python", "reference"], ["NAME=PATH"]),
        (["--python", "reference=/no/python"], ["/no/python"]),
        (["--batch-size", "100000"], ["batch_size", "100,000", "1,294"]),
        (["--repeats", "0"], ["repeats"]),
        (["--replicas", "0"], ["replicas", "greater than or equal to 1"]),
        (["--replicas", "33"], ["replicas", "33", "a batch of 32"]),
        (["--replicas", "15"], ["digits-mlp", "replicas", "the last batch of an epoch, which has 14"]),
        (["--sweep", "replicas=1,0"], ["replicas", "greater than or equal to 1"]),
        (["--until", "2x"], ["until", "2x", "2%"]),
        (["--sweep", "batch_size"], ["sweep", "KEY=VALUE"]),
        (["--sweep", "sgd.momentun=0.1"], ["digits-mlp.toml", "momentun", "'momentum'"]),
        (["--sweep", "threads=1,100000"], ["100000", "processors"]),
        (
            ["--sweep", "sgd.nesterov=true,false", "--sweep", "sgd.momentum=0.9,0"],
            ["digits-mlp.toml with sgd.nesterov=true, sgd.momentum=0: sgd: nesterov needs a momentum"],
        ),
        (["--sweep", "batch_size=16,100000"], ["digits-mlp batch_size=100000: batch_size: 100,000", "1,294"]),
        (["--sweep", "epochs=1,1979-05-27"], ['digits-mlp.toml with epochs="1979-05-27": epochs']),
        (["--precision", "fp8"], ["precision", "tf32"]),
        (["--baseline", "jax", "jot"], ["baseline", "jax jot", "pytorch eager"]),
        (["--target-accuracy", "90"], ["target-accuracy", "less than or equal to 1"]),
    ],
)
def test_bad_arguments_get_one_line_and_write_nothing(
    lockstep: Lockstep, tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    results = tmp_path / "results"
    assert_one_line(lockstep("run", "digits-mlp", "--results", str(results), *arguments), *expected)
    assert not results.exists()


REFUSED = {
    "batch size": ("digits-mlp", ["--batch-size", "100000"]),
    "batch size, of generated data": ("generated-mlp", ["--batch-size", "100000"]),
    "all held out": ("generated-mlp", ["--sweep", "validation=0.1,0.99999"]),
    "replicas": ("digits-mlp", ["--replicas", "15"]),
    "more samples than there are": ("digits-mlp", ["--sweep", "data.samples=10,5000"]),
    "pictures": ("mine.toml", []),
}


@pytest.mark.parametrize(("experiment", "arguments"), REFUSED.values(), ids=REFUSED)
def test_a_dry_run_gives_the_answer_of_the_run(
    lockstep: Lockstep, tmp_path: Path, experiment: str, arguments: list[str]
) -> None:
    write_picture_experiment(tmp_path)
    command = ["run", experiment, "--backend", "reference", "--python", "reference=current", *arguments]
    dry, real = lockstep(*command, "--dry-run"), lockstep(*command, "--results", "out")
    assert_one_line(dry)
    assert dry.stderr == real.stderr


def test_a_dry_run_says_what_it_would_download_and_has_not_looked_at(
    lockstep: Lockstep, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["LOCKSTEP_DATA"] = str(tmp_path)
    ended = lockstep("run", "mnist-mlp", "--backend", "reference", "--dry-run")
    assert ended.returncode == 0
    assert "mnist is not in" in ended.stdout
    assert "download" in ended.stdout
    assert "; the data was not looked at" in ended.stdout


def write_picture_experiment(folder: Path) -> None:
    """One whose last layer does not fit the classes of its folder of pictures."""
    for split, name, number in itertools.product(("train", "test"), "abc", range(3)):
        path = folder / "pictures" / split / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (folder / "mine.toml").write_text(
        'description = "mine"\nlayers = [{ layer = "flatten" }, { layer = "linear", outputs = 2 }]\n'
        'loss = "cross-entropy"\nbatch_size = 2\nepochs = 1\n[data]\nname = "picture-folder"\npath = "pictures"\n'
        "size = [8, 8]\n[sgd]\nlearning_rate = 0.1\n"
    )


def test_a_plan_without_tuning_says_stock(lockstep: Lockstep) -> None:
    ended = lockstep("run", "digits-mlp", "--backend", "reference", "--threads", "1", "--stock", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "digits-mlp, 1 thread, stock: reference numpy" in ended.stdout


def test_a_bad_experiment_file_gets_one_line_with_file_key_and_remedy(lockstep: Lockstep, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'description = "mine"\nlayers = [{ layer = "flatten" }, { layer = "linear", outputs = 2 }]\n'
        'loss = "cross-entropy"\nbatch_size = 2\nepochs = 1\n[data]\nname = "picture-folder"\npath = "nowhere"\n'
        "size = [8, 8]\n[sgd]\nlearning_rate = 0.1\n"
    )
    ended = lockstep("run", "mine.toml", "--results", "out")
    assert_one_line(ended, "nowhere", "data.path")
    assert not (tmp_path / "out").exists()


def test_a_users_own_file_and_backend_work_by_path(lockstep: Lockstep, tmp_path: Path, write_backend) -> None:
    backend = write_backend("mine")
    experiment = tmp_path / "small.toml"
    source = Path(__file__).parents[2] / "benchmarks" / "experiments" / "digits-mlp.toml"
    experiment.write_text(source.read_text().replace("epochs = 10", "epochs = 1"))
    arguments = [
        "small.toml",
        "--backend",
        str(backend),
        "--python",
        "mine=current",
        "--repeats",
        "1",
        "--threads",
        "1",
    ]
    ended = lockstep("run", *arguments, "--results", "out")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "training speed on cpu, 1 thread, against mine" in ended.stdout
    assert "lockstep run small.toml --backend" in (tmp_path / "out" / "report.html").read_text()
    assert "mine" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 400
    tables = [line for line in ended.stdout.splitlines() if line.startswith((" ", "─"))]
    assert max(map(len, tables)) <= 80

    shown = lockstep("table", "--results", "out")
    assert "mine" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    table = lockstep("table", "--results", "out", "--format", "csv")
    assert list(pd.read_csv(StringIO(table.stdout))["status"]) == ["ok"]
    assert json.loads(lockstep("table", "--results", "out", "--format", "json").stdout)[0]["backend"] == "mine"
    assert lockstep("table", "--results", "out", "--format", "markdown").stdout.startswith("|")
    lockstep("table", "--results", "out", "--format", "parquet", "--output", "runs.parquet")
    assert len(pd.read_parquet(tmp_path / "runs.parquet")) == 1
    assert_one_line(lockstep("table", "--results", "out", "--format", "parquet"), "--output")


@pytest.mark.parametrize("arguments", [["run", "mnist-mlp"], ["tutorials", "mnist-mlp"]])
def test_offline_is_an_option_and_a_variable(
    lockstep: Lockstep, tmp_path: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    environment["LOCKSTEP_DATA"] = str(tmp_path / "data")
    by_option = lockstep(*arguments, "--offline", "--results", "out")
    environment["LOCKSTEP_OFFLINE"] = "1"
    by_variable = lockstep(*arguments, "--results", "out")
    for ended in (by_option, by_variable):
        assert "mnist is not in" in ended.stdout + ended.stderr
        assert "--offline (or LOCKSTEP_OFFLINE) forbids to download it" in ended.stdout + ended.stderr
    assert not (tmp_path / "data").exists()
    environment["LOCKSTEP_OFFLINE"] = "perhaps"
    assert_one_line(lockstep(*arguments), "LOCKSTEP_OFFLINE", "boolean")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_terminal_lacks_are_replaced(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, no_text = "没有.toml", os.fsdecode(b"caf\xe9.toml")
    (tmp_path / name).write_text((experiments.FOLDER / "linear-regression.toml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stdout, stderr = (TextIOWrapper(BytesIO(), encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    for arguments, code in [([name, "--dry-run"], 0), (["无.toml"], 2), ([no_text], 2)]:
        monkeypatch.setattr(sys, "argv", ["lockstep", "run", *arguments, "--backend", "reference"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
    shown = stdout.buffer.getvalue().decode(encoding)
    assert ("没有, " if encoding == "utf-8" else "??, ") in shown
    missing, named = stderr.buffer.getvalue().decode(encoding).splitlines()
    assert missing.endswith(".toml: cannot be read: No such file or directory")
    assert named == "lockstep: caf?.toml: the file's name is no text here; rename it, or set PYTHONUTF8=1"


def test_a_failed_run_gives_exit_code_1(fresh_lockstep: Lockstep, write_backend) -> None:
    backend = write_backend("dying", "def train(self, data, batches):\n    os._exit(3)")
    arguments = ["--backend", str(backend), "--python", "dying=current", "--repeats", "1"]
    ended = fresh_lockstep("run", "linear-regression", *arguments, "--results", "out")
    assert ended.returncode == 1
    assert "exited with code 3" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_table_of_nothing_says_what_to_do(fresh_lockstep: Lockstep) -> None:
    assert_one_line(fresh_lockstep("table", "--results", "empty"), "empty", "lockstep run")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return fill(tmp_path / "out", experiments=1).folder


def test_a_report_is_written_where_it_is_expected(fresh_lockstep: Lockstep, lockstep: Lockstep, results: Path) -> None:
    ended = fresh_lockstep("report", "out")
    assert (ended.returncode, ended.stdout) == (0, "report: out/report.html\n"), ended.stderr
    assert "at their best, jax against pytorch: 3.0x faster" in (results / "report.html").read_text()
    assert lockstep("report", "out", "--session", "s", "--output", "mine.html").returncode == 0
    assert (results.parent / "mine.html").is_file()


def test_sessions_and_logs_are_one_command_away(lockstep: Lockstep, results: Path) -> None:
    (results / "logs").mkdir()
    (results / "logs" / "s-00001.log").write_text("what the framework said\n")
    listed = lockstep("runs", "--results", "out").stdout
    assert listed.startswith("s: 15 runs (15 ok) of experiment-0\n")
    assert "lockstep run experiment-0" in listed
    assert lockstep("log", "s-00001", "--results", "out").stdout == "what the framework said\n"


def test_a_run_is_explained_rung_by_rung_and_where_it_parts(lockstep: Lockstep, results: Path) -> None:
    rungs = [{"name": "loss curve", "figure": 3e-6, "tolerance": 2e-5, "where": ""}]
    decision = {"step": 90, "layer": 4, "kind": "ReLU", "sample": 878, "place": [22, 2, 1], "margin": 0.46}
    parting = {"step": 91, "before": 2.3e-7, "distance": 3e-6, "decision": decision}
    numbers: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 50, "judged_steps": 95, "ladder": rungs}
    Store(results).append(
        make_run(101, "e", ("jax", "jit"), 1, parting=parting, **numbers),
        make_run(102, "e", ("jax", "jit"), 2, **numbers),
        make_run(103, "e", ("jax", "jit"), 3, status="failed", reason="why", ladder=[]),
    )
    apart = lockstep("explain", "s-00101", "--results", "out").stdout
    assert "judged by the float64 reference for 95 of 100 steps" in apart
    assert "- loss curve: off by 3e-06, allowed 2e-05" in apart
    assert "in step 90 the ReLU layers[4] was within 0.46 roundings of a tie, for sample 878 at 22, 2, 1" in apart
    assert "stays with the reference's" in lockstep("explain", "s-00102", "--results", "out").stdout
    wrong = [{"name": "loss curve", "figure": 3e-4, "tolerance": 2e-5, "where": "first left at step 2"}]
    Store(results).append(make_run(104, "e", ("jax", "jit"), 4, **{**numbers, "ladder": wrong}))
    assert "its curve" not in lockstep("explain", "s-00104", "--results", "out").stdout
    assert "no rung was walked; the run is failed: why" in lockstep("explain", "s-00103", "--results", "out").stdout
    lockstep("report", "out")
    assert "was within 0.46 roundings of a tie" in (results / "report.html").read_text()


def test_a_excluded_run_is_left_out_and_told_with_its_reason(lockstep: Lockstep, results: Path) -> None:
    ended = lockstep("exclude", "s-00001", "--why", "somebody compiled meanwhile", "--results", "out")
    assert ended.returncode == 0, ended.stderr
    assert "excluded: 1 run: somebody compiled meanwhile" in lockstep("runs", "--results", "out").stdout
    table = pd.read_csv(StringIO(lockstep("table", "--results", "out", "--format", "csv").stdout), dtype=str)
    assert list(table["excluded"].dropna()) == ["somebody compiled meanwhile"], "the row is there"
    lockstep("report", "out")
    page = (results / "report.html").read_text()
    assert "somebody compiled meanwhile" in page
    assert "excluded: 1 run: somebody compiled meanwhile" in page
    assert_one_line(
        lockstep("exclude", "s-00001", "--why", "again", "--results", "out"), "already", "compiled meanwhile"
    )


def test_results_are_named_in_one_way_in_every_command(lockstep: Lockstep, results: Path) -> None:
    assert lockstep("report", "--results", "out").stdout == "report: out/report.html\n"
    assert_one_line(lockstep("report", "out", "--results", "out"), "--results out", "once")


def test_a_command_that_is_printed_works_when_it_is_pasted(lockstep: Lockstep, results: Path) -> None:
    results.rename(results.with_name("my results"))
    told = lockstep("exclude", "s-00001", "--why", "noise", "--results", "my results").stdout
    _, command = told.strip().split(": ", 1)
    ended = lockstep(*shlex.split(command)[1:])
    assert (ended.returncode, ended.stdout) == (0, "report: my results/report.html\n"), ended.stderr


def test_a_damaged_store_is_recovered_and_told_and_the_next_command_works(
    fresh_lockstep: Lockstep, results: Path
) -> None:
    path = results / "lockstep.sqlite"
    path.write_bytes(path.read_bytes()[:-5000])
    ended = fresh_lockstep("runs", "--results", "out")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "could be read and are kept" in ended.stderr
    assert "lockstep-damaged-1.sqlite" in ended.stderr
    assert fresh_lockstep("runs", "--results", "out").returncode == 0


def test_a_log_outside_of_the_results_is_not_shown(lockstep: Lockstep, results: Path) -> None:
    (results.parent / "secret").write_text("secret")
    for number, path in enumerate(("../../secret", str(results.parent / "secret"), "lockstep.sqlite"), start=101):
        Store(results).append(make_run(number, "e", ("jax", "jit"), 1, log=path))
        assert_one_line(lockstep("log", f"s-{number:05d}", "--results", "out"), f"s-{number:05d}", "No such file")


def test_two_results_folders_are_put_side_by_side(lockstep: Lockstep, results: Path) -> None:
    fill(results.parent / "other", experiments=1)
    assert lockstep("report", "out", "other").stdout == "report: other/differences.html\n"
    assert "Is B (other) faster than A (out)?" in (results.parent / "other" / "differences.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report", "nowhere"], ["nowhere", "lockstep run"]),
        (["report", "out", "out", "out"], ["3 folders"]),
        (["report", "out", "out", "--session", "s"], ["--session"]),
        (["report", "out", "--session", "t"], ["no session t", "there are s"]),
        (["report", "out", "--output", "no/such/report.html"], ["no/such", "No such file"]),
        (["plot", "pie", "--results", "out"], ["pie", "speed"]),
        (["plot", "--results", "nowhere"], ["nowhere", "lockstep run"]),
        (["table", "--markdown", "--results", "nowhere"], ["nowhere"]),
        (["runs", "--results", "nowhere"], ["nowhere"]),
        (["exclude", "s-99999", "--why", "x", "--results", "out"], ["s-99999", "s-00015"]),
        (["exclude", "s-00001", "--why", " ", "--results", "out"], ["--why", "empty"]),
        (["exclude", "s-00001", "--results", "out"], ["--why"]),
        (["explain", "s-99999", "--results", "out"], ["s-99999", "s-00015"]),
        (["log", "s-99999", "--results", "out"], ["s-99999", "s-00015"]),
        (["log", "s-00001", "--results", "out"], ["s-00001.log", "No such file"]),
        (["plot", "experiment-0", "experiment-9", "--results", "out"], ["experiment-9", "experiment-0", "speed"]),
        (["predict", "s-00001", "--results", "out"], ["pictures", "--data test"]),
        (["predict", "s-00001", "a.png", "--results", "out"], ["s-00001", "no model", "--keep-models"]),
        (["predict", "s-99999", "a.png", "--results", "out"], ["s-99999", "s-00015"]),
        (["predict", "no.safetensors", "a.png"], ["no.safetensors", "No such file"]),
        (["run", "digits-mlp", "--from", "s-00001", "--results", "out"], ["s-00001", "no model", "--keep-models"]),
        (["tutorials", "mnist", "--results", "out"], ["mnist", "mnist-mlp"]),
    ],
)
def test_a_report_that_cannot_be_made_gets_one_line(
    lockstep: Lockstep, results: Path, arguments: list[str], expected: list[str]
) -> None:
    before = sorted(results.parent.rglob("*"))
    assert_one_line(lockstep(*arguments), *expected)
    assert sorted(results.parent.rglob("*")) == before


def test_charts_become_pictures(lockstep: Lockstep, results: Path) -> None:
    ended = lockstep("plot", "speed", "cost", "--format", "png", "--results", "out")
    paths = [results.parent / line for line in ended.stdout.splitlines()]
    assert [path.name.split("-")[0] for path in paths] == ["speed", "cost"], ended.stderr
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_kept_model_looks_at_a_picture_and_refuses_what_is_none(lockstep: Lockstep, tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "model.safetensors")
    by = ["model.safetensors", "--backend", "reference", "--python", "reference=current"]
    Image.new("RGB", (10, 20)).save(tmp_path / "good.png")
    seen = lockstep("predict", *by, "good.png")
    assert seen.returncode == 0, seen.stderr
    first, picture, *classes = seen.stdout.splitlines()
    assert first == "digits-mlp, run r-0001 after epoch 3, trained by pytorch eager, on reference numpy:"
    assert picture == "good.png (converted to L from RGB, resized to 8x8 pixels from 10x20)"
    assert sorted(line.split()[1] for line in classes) == list("0123456789")

    (tmp_path / "text.png").write_text("no picture at all")
    assert_one_line(lockstep("predict", *by, "text.png"), "text.png", "cannot be read as a picture")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    assert_one_line(lockstep("predict", *by, "huge.png"), "huge.png", "400000000 pixels")
    assert_one_line(lockstep("predict", *by, "good.png", "--mode", "turbo"), "turbo", "numpy")
    assert_one_line(lockstep("predict", *by, "good.png", "--data", "test"), "not both")
    assert_one_line(lockstep("predict", *by), "give pictures")
    (tmp_path / "model.safetensors").write_bytes(b"no model at all")
    assert_one_line(lockstep("predict", *by, "good.png"), "model.safetensors", "no safetensors file")
    save_model(replace(make_model(), trained_by="./evil.py numpy"), tmp_path / "model.safetensors")
    assert_one_line(lockstep("predict", "model.safetensors", "good.png"), "./evil.py", "--backend")


def test_experiments_share_a_picture_and_a_table(lockstep: Lockstep, results: Path) -> None:
    fill(results.parent / "two", experiments=2)
    ended = lockstep("plot", "experiment-0", "experiment-1", "training-loss", "--results", "two")
    first, *table = ended.stdout.splitlines()
    assert first == "two/plots/training-loss-experiment-0-and-experiment-1.svg", ended.stderr
    assert max(map(len, table)) <= 80
    assert sum("pytorch eager" in line for line in table) == 2


def test_the_newest_session_as_markdown(lockstep: Lockstep, results: Path) -> None:
    lines = lockstep("table", "--markdown", "--results", "out").stdout.splitlines()
    assert re.match(r"\| backend and mode +\| experiment-0 +\|", lines[0])
    assert any(re.match(r"\| jax jit +\| 1.5x faster +\|", line) for line in lines)
    details = lines[lines.index("### experiment-0 on cpu, 3 threads") + 2 :]
    assert "throughput, samples/s" in details[0]
    assert any("jax" in line and "1.5" in line and "x faster (" in line for line in details)
    assert any("pytorch" in line and "baseline" in line for line in details)


def test_the_list_imports_no_framework(fresh_lockstep: Lockstep, tmp_path: Path) -> None:
    for name in ("torch", "jax", "mindspore"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a framework was imported')")
    ended = fresh_lockstep("list", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    for word in ("digits-mlp", "pytorch", "pynative", "scan", "environment", "cpu"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["schema"],
        ["new-backend", "no-name"],
        ["run", "--help"],
        ["run", "nosuch"],
        ["run", "digits-mlp", "--mode", "nosuch"],
        ["run", "digits-mlp", "--baseline", "jax", "jot"],
        ["run", "digits-mlp", "--sweep", "sgd.momentun=0.1"],
        ["run", "digits-mlp", "--epochs", "0"],
        ["run", "digits-mlp", "--threads", "100000"],
        ["predict", "s-00001"],
        ["tutorials", "nosuch"],
        ["report", "a", "b", "c"],
        ["exclude", "s-00001", "--why", " "],
    ],
)
def test_what_needs_no_data_imports_none_of_the_heavy_packages(fresh_lockstep: Lockstep, arguments: list[str]) -> None:
    ended = fresh_lockstep(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert ended.returncode in (0, 2), ended.stderr
    assert imported(ended) & HEAVY == set()


def test_sessions_are_listed_without_what_draws_charts(fresh_lockstep: Lockstep, results: Path) -> None:
    ended = fresh_lockstep("runs", "--results", "out", PYTHONPROFILEIMPORTTIME="1")
    assert ended.returncode == 0, ended.stderr
    assert imported(ended) & HEAVY <= {"numpy", "pandas", "pyarrow"}


def test_help_is_shown_without_arguments_and_on_request(fresh_lockstep: Lockstep) -> None:
    assert "run" in fresh_lockstep().stdout
    assert "--repeats" in fresh_lockstep("run", "--help").stdout
