"""Everything planned ends as a row, and the rows of what works do not depend on what fails beside it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmarks.cell.kept_models import load_model
from benchmarks.commands.bench import bench
from benchmarks.session.exit_codes import OK, SOME_FAILED
from benchmarks.session.options import TURNS, Options
from benchmarks.session.request import Selection
from results.record import PHASES
from results.store import Store

FAST = {"epochs": 1}


@pytest.fixture
def results(tmp_path: Path, cache: None) -> Path:
    return tmp_path / "results"


def run(
    results: Path,
    backends: list[str],
    repeats: int = 1,
    timeout: float = 120,
    input: str = "resident",
    peaks: bool = False,
    options: Options | None = None,
    overrides: dict[str, Any] | None = None,
    experiments: Sequence[str] = ("digits-mlp",),
    **selection: Any,
) -> int:
    names = [Path(name).stem for name in backends]
    chosen = Selection(
        experiments=experiments,
        backends=backends,
        threads=1,
        overrides={**FAST, "input": input, **(overrides or {})},
        **selection,
    )
    console = Console(file=(results.parent / "console.txt").open("w"), width=80)
    pythons = dict.fromkeys(names, "current")
    short = Options(repeats, timeout, turns=2, judge_budget=1, peaks=peaks)
    return bench(chosen, options or short, pythons, results, console)


def rows(results: Path) -> pd.DataFrame:
    return Store(results).runs().set_index("backend")


def test_a_run_that_works_leaves_a_whole_row(results: Path) -> None:
    assert run(results, ["reference"], options=Options(1, peaks=False)) == OK
    row = rows(results).loc["reference"]
    assert row["status"] == "ok"
    assert row["device"] == "cpu"
    assert all(row[f"{phase}_seconds"] > 0 for phase in PHASES)
    assert sum(row[f"{phase}_seconds"] for phase in PHASES) == pytest.approx(row["wall_seconds"], rel=0.02)
    assert row["judge_seconds"] > 0, "the first run of an experiment carries what the reference took"
    assert row["train_samples_per_second"] > 100
    assert row["predict_samples_per_second"] > 100
    assert 0.3 < row["cpu_per_wall"] < 1.3, "one thread was asked for"
    assert row["peak_memory_bytes"] > 20e6
    assert row["parameters"] == 64 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10
    assert json.loads(str(row["experiment_json"]))["batch_size"] == 32
    store = Store(results)
    steps, epochs, windows = store.steps(), store.epochs(), store.windows()
    assert list(steps["step"]) == list(range(1, len(steps) + 1))
    assert len(steps) == row["steps_per_epoch"]
    assert list(epochs["epoch"]) == [0, 1]
    assert epochs["train_loss"].iloc[1] == pytest.approx(steps["loss"].mean(), rel=0.02)
    assert epochs["test_accuracy"].iloc[1] == row["test_accuracy"]
    assert len(windows[windows["kind"] == "timed"]) == TURNS
    timed = windows[windows["kept"] == 1]
    assert TURNS / 2 <= len(timed) <= TURNS
    assert set(timed["kind"]) == {"timed"}
    assert (timed["samples"] == timed["steps"] * 32).all()
    assert row["train_samples_per_second"] == pytest.approx((timed["samples"] / timed["seconds"]).median())
    for name in ("runs", "epochs", "steps", "windows"):
        assert len(pd.read_csv(results / f"{name}.csv")) == len(pd.read_parquet(results / f"{name}.parquet")) > 0


def test_a_stock_run_has_none_of_the_tuning_and_its_row_says_so(
    results: Path, write_backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    loads = results.parent / "loads"
    body = f"""
    def load(self, job):
        with open({str(loads)!r}, "a") as file:
            file.write(f"{{job.stock}} {{os.environ.get('MALLOC_TRIM_THRESHOLD_')}}\\n")
        super().load(job)
    """
    path = str(write_backend("telling", body))
    assert run(results, [path], stock=True, options=Options(1, turns=2, judge_budget=1)) == OK
    row = rows(results).loc["telling"]
    settings: Any = row["settings"]
    assert (row["stock"], settings["bound_threads"]) == (True, 0)
    told = loads.read_text().splitlines()
    assert set(told) == {"True None"}
    assert len(told) > 1, "the machine's peak is measured so as well"
    assert "training speed on cpu, 1 thread, stock, against" in (results.parent / "console.txt").read_text()


def test_the_best_and_the_last_weights_are_kept_when_asked_for(results: Path) -> None:
    options = Options(1, peaks=False, turns=0, keep_models=True)
    assert run(results, ["reference"], options=options, overrides={"epochs": 8}) == OK
    row = rows(results).loc["reference"]
    epochs = Store(results).epochs().set_index("epoch")["validation_accuracy"]
    assert row["best_epoch"] == epochs.idxmax()
    models: Any = row["models"]
    assert {which: kept["epoch"] for which, kept in models.items()} == {"best": row["best_epoch"], "last": 8}
    assert f"lockstep predict {row['run']} --data test" in (results.parent / "console.txt").read_text()
    for kept in models.values():
        assert load_model(results / kept["file"]).epoch == kept["epoch"]


def test_a_backend_may_give_its_weights_as_they_lie_in_its_own_layout(results: Path, write_backend) -> None:
    transposed = """
    def parameters(self):
        return {name: np.ascontiguousarray(values.T).T for name, values in super().parameters().items()}
    """
    options = Options(1, peaks=False, turns=0, keep_models=True)
    assert run(results, ["reference", str(write_backend("transposed", transposed))], options=options) == OK
    files = [results / models["last"]["file"] for models in rows(results)["models"]]
    ours, theirs = (load_model(file).parameters for file in files)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_no_model_is_kept_unless_asked_for_or_of_a_run_that_failed(results: Path, write_backend) -> None:
    failing = write_backend("failing", "def predict(self, data):\n    return np.zeros((3, 3), np.float32)")
    run(results, ["reference"])
    run(results, [str(failing)], options=Options(1, peaks=False, turns=0, keep_models=True))
    assert list(rows(results)["models"]) == [{}, {}]
    assert not (results / "models").exists()


def test_models_that_cannot_be_written_fail_the_run(results: Path) -> None:
    results.mkdir()
    (results / "models").write_text("in the way")
    assert run(results, ["reference"], options=Options(1, peaks=False, turns=0, keep_models=True)) == SOME_FAILED
    row = rows(results).loc["reference"]
    assert (row["status"], row["models"]) == ("failed", {})
    assert "models cannot be kept" in str(row["reason"])


def test_what_was_trained_before_a_divergence_is_judged(results: Path, write_backend) -> None:
    late = """
    trained = 0

    def synchronize(self, handle):
        losses = super().synchronize(handle)
        self.trained += len(losses)
        return losses if self.trained <= 41 else losses * np.nan
    """
    options = Options(1, peaks=False, turns=0, judge_budget=1e-9)
    assert run(results, [str(write_backend("late", late))], options=options, overrides={"epochs": 2}) == SOME_FAILED
    row = rows(results).loc["late"]
    assert row["status"] == "diverged"
    assert row["judged_steps"] == 4
    assert all(rung["figure"] <= rung["tolerance"] for rung in row["ladder"])
    assert pd.isna(row["equal_work"]), "its work was equal, its speed is not to be compared"


def test_a_curve_that_parts_within_what_is_allowed_is_told_in_the_row(results: Path, write_backend) -> None:
    off_once = """
    trained = 0

    def synchronize(self, handle):
        losses = super().synchronize(handle)
        if self.trained <= 20 < self.trained + len(losses):
            losses[20 - self.trained] += 2e-6
        self.trained += len(losses)
        return losses
    """
    options = Options(1, peaks=False, turns=0)
    assert run(results, ["reference", str(write_backend("off", off_once))], options=options) == OK
    table = rows(results)
    assert table.loc["off", "status"] == "ok"
    assert table["parting"]["reference"] == {}
    assert table["parting"]["off"]["step"] == 21
    assert "decision" not in table["parting"]["off"], "no decision of the model did it"


def test_a_model_that_is_not_finite_has_diverged_though_its_losses_are(results: Path, write_backend) -> None:
    """As with a ReLU that makes 0 of not-a-number: the losses and the outputs may look as if all were well."""
    hidden = """
    def parameters(self):
        parameters = super().parameters()
        if self.training.state:
            parameters["3.weight"][4, 7] = VALUE
        return parameters
    """
    backends = {
        "hides_nan": hidden.replace("VALUE", "np.nan"),
        "hides_inf": hidden.replace("VALUE", "-np.inf"),
        "predicts_nan": """
        def predict(self, data):
            outputs = super().predict(data)
            return np.where(self.training.state and data.labels[0] == data.labels, np.nan, outputs.T).T
        """,
        "later": """
        looks = 0
        def parameters(self):
            self.looks += 1
            parameters = super().parameters()
            return {name: values * np.nan if self.looks > 5 else values for name, values in parameters.items()}
        """,
    }
    paths = [str(write_backend(name, body)) for name, body in backends.items()]
    options = Options(1, peaks=False, turns=0, judge_budget=1)
    assert run(results, paths, options=options, overrides={"epochs": 2}) == SOME_FAILED
    assert dict(rows(results)["reason"]) == {
        "hides_nan": "the weight of layers[3] is nan after epoch 1, at step 41",
        "hides_inf": "the weight of layers[3] is -inf after epoch 1, at step 41",
        "predicts_nan": "an output for the validation set is nan after epoch 1, at step 41",
        "later": "the weight of layers[1] is nan in the audit after the last epoch",
    }
    assert set(rows(results)["status"]) == {"diverged"}


def test_progress_can_be_a_line_every_so_many_batches_and_every_epoch(results: Path) -> None:
    options = Options(1, peaks=False, turns=0, log_every=100)
    assert run(results, ["reference"], options=options, overrides={"epochs": 2, "batch_size": 8}) == OK
    lines = [line for line in (results.parent / "console.txt").read_text().splitlines() if "| epoch 2/2" in line]
    assert re.fullmatch(r"digits-mlp reference numpy \| epoch 2/2: loss \d\.\d{4} \[800/1294\]", lines[0])
    assert re.fullmatch(r".*: 162 iterations, training loss .*, average test loss .*, test accuracy .*%", lines[1])
    assert len(lines) == 2


def test_a_row_says_what_share_of_the_machine_was_used(results: Path) -> None:
    assert run(results, ["reference"], peaks=True) == OK
    row = rows(results).loc["reference"]
    assert row["step_flops"] == 32 * (2 * 64 * 64 * 2 + 2 * 64 * 32 * 3 + 2 * 32 * 10 * 3)
    assert row["gflops"] == pytest.approx(row["train_samples_per_second"] / 32 * row["step_flops"] / 1e9)
    assert row["share_of_peak"] == pytest.approx(row["gflops"] / row["peak_gflops"])
    assert 0 < row["share_of_peak"] < 1
    assert 0.1 < row["product_threads"] < 1.5, "one thread was asked for; a busy machine gives less"
    assert row["copy_bytes_per_second"] > 1e8


def test_rounds_are_added_as_long_as_the_budget_lasts_or_until_intervals_are_narrow(
    results: Path, write_backend
) -> None:
    backends = ["reference", str(write_backend("other"))]
    options = Options(1, peaks=False, turns=2, judge_budget=0.2, baseline=("reference", "numpy"))

    def rounds(**changes: Any) -> tuple[int, float]:
        shutil.rmtree(results, ignore_errors=True)
        begin = time.perf_counter()
        assert run(results, backends, experiments=["linear-regression"], options=replace(options, **changes)) == OK
        return int(rows(results)["round"].max()), time.perf_counter() - begin

    number, of_one_round = rounds()
    assert number == 1, "without a budget, none is added"
    number, seconds = rounds(budget=5 * of_one_round)
    assert number > 1
    assert seconds < 8 * of_one_round
    assert rounds(until=1e9, budget=600.0)[0] == 2, "the one ratio is known well enough"


def test_a_configuration_alone_is_run_as_often_as_planned_as_there_is_no_ratio_to_be_sure_of(results: Path) -> None:
    options = Options(1, peaks=False, turns=1, judge_budget=0.2, budget=600.0)
    assert run(results, ["reference"], experiments=["linear-regression"], options=options) == OK
    assert list(rows(results)["round"]) == [1]


def test_what_fails_is_not_run_again_for_as_long_as_the_budget_lasts(results: Path, write_backend) -> None:
    broken = str(write_backend("broken", "def load(self, job):\n    raise ValueError('no')"))
    options = Options(1, peaks=False, turns=1, judge_budget=0.2, budget=600.0)
    assert run(results, [broken], experiments=["linear-regression"], options=options) == SOME_FAILED
    assert list(rows(results)["round"]) == [1]


def test_the_first_comparison_of_all_does_not_wait_for_the_others_to_compile(results: Path) -> None:
    options = Options(2, peaks=False, turns=1, judge_budget=0.2)
    assert run(results, ["reference"], experiments=["digits-mlp", "linear-regression"], options=options) == OK
    store = Store(results)
    windows = store.windows().merge(store.runs()[["run", "experiment", "round"]], on="run")
    times = windows.groupby(["experiment", "round"])["started"].agg(["min", "max"]).to_dict("index")
    first, second = (times[name, 1] for name in ("linear-regression", "digits-mlp"))
    assert first["max"] < second["min"]
    first, second = (times[name, 2] for name in ("linear-regression", "digits-mlp"))
    assert second["min"] < first["max"], "side by side, from then on"


def test_a_sweep_has_rows_for_every_point_and_threads_are_set(results: Path) -> None:
    assert run(results, ["reference"], sweeps=["batch_size=16,32", "threads=1,2"]) == OK
    table = rows(results)
    points = [f"batch_size={size}, threads={threads}" for size in (16, 32) for threads in (1, 2)]
    assert list(table["sweep_point"]) == points
    assert list(table["batch_size"]) == [16, 16, 32, 32]
    assert list(table["threads_asked"]) == [1, 2, 1, 2]


def test_a_first_step_is_warm_if_another_one_had_compiled_the_same_when_it_began(results: Path, write_backend) -> None:
    body = """
    def train(self, data, batches):
        time.sleep(0.2)
        open(os.environ["TMPDIR"] + "/compiled", "w").close()
        return super().train(data, batches)
    """
    seeds = ["seed=1,2,3"]  # one batch of workers: nothing that is compiled depends on a seed
    run(results, [str(write_backend("keeping", body))], experiments=["linear-regression"], sweeps=seeds)
    first, *_, last = rows(results)["compiler_cache"]
    assert (first, last) == ("cold", "warm")


def test_the_time_to_a_target_accuracy_is_that_of_the_epoch_that_reached_it(results: Path) -> None:
    easy, hard = (Options(1, peaks=False, turns=0, target_accuracy=target) for target in (0.2, 1.0))
    for options in (easy, hard):
        assert run(results, ["reference"], options=options) == OK
    reached, missed = rows(results).to_dict("records")
    epochs = Store(results).epochs()
    first = epochs[(epochs["run"] == reached["run"]) & (epochs["test_accuracy"] >= 0.2)].iloc[0]
    assert reached["seconds_to_target"] == first["elapsed_seconds"] > 0
    assert pd.isna(missed["seconds_to_target"])


def test_training_windows_cover_every_sample_once_per_epoch(results: Path) -> None:
    run(results, ["reference"])
    windows = Store(results).windows()
    training = windows[windows["kind"] == "training"]
    assert training["samples"].sum() == 1294
    assert training["steps"].iloc[0] == 1, "the first step is timed alone"


def test_a_device_that_is_not_there_is_unavailable_and_not_an_error(results: Path) -> None:
    assert run(results, ["reference"], device="gpu") == OK
    row = rows(results).loc["reference"]
    assert (row["status"], row["device"], row["phase"]) == ("unavailable", "gpu", "load")
    assert row["reason"]


def test_the_input_of_the_experiment_reaches_the_backend(results: Path, write_backend) -> None:
    body = """
    def load(self, job):
        super().load(replace(job, input="resident"))
        self.input = job.input

    def describe(self):
        return {**super().describe(), "input": self.input}
    """
    assert run(results, [str(write_backend("loading", body)), "reference"], input="loader") == OK
    table = rows(results)
    assert table.loc["loading", "status"] == "ok"
    assert table["settings"]["loading"]["input"] == "loader"
    assert (table.loc["reference", "status"], table.loc["reference", "phase"]) == ("unavailable", "load")
    assert "NumPy has no input pipeline" in str(table.loc["reference", "reason"])


def test_rounds_are_fresh_processes_with_equal_hashes(results: Path, write_backend) -> None:
    other = write_backend("other")
    assert run(results, ["reference", str(other)], repeats=2) == OK
    table = Store(results).runs()
    assert list(table["round"]) == [1, 1, 2, 2]
    assert list(table["backend"]) == ["reference", "other", "other", "reference"], "the order is reversed"
    for column in ("weights_hash", "batches_hash", "data_hash"):
        assert table[column].nunique() == 1
    losses = Store(results).steps().pivot(index="step", columns="run", values="loss").to_numpy()
    assert np.ptp(losses, axis=1).max() == 0


def test_an_environment_that_cannot_be_made_is_a_row(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.hosting import environments

    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "environments")
    path = tmp_path / "conflict.py"
    path.write_text(
        "# /// script\n# dependencies = ['iniconfig==2.0.0', 'iniconfig==2.1.0']\n# ///\n"
        "class A:\n    modes = {'a': 'b'}\n    devices = ('cpu',)\n"
    )
    console = Console(file=(tmp_path / "console.txt").open("w"), width=80)
    chosen = Selection(experiments=["digits-mlp"], backends=[str(path), "reference"], threads=1, overrides=FAST)
    assert bench(chosen, Options(1, 60, peaks=False), {"reference": "current"}, results, console) == SOME_FAILED
    table = rows(results)
    assert (table.loc["conflict", "status"], table.loc["conflict", "phase"]) == ("failed", "environment")
    assert "iniconfig" in str(table.loc["conflict", "reason"])
    assert table.loc["reference", "status"] == "ok"
