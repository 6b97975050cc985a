"""The loops without a harness still run, and train; the numbers that they are judged by come out right."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import closing
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.cell.materials import Materials
from benchmarks.machine.processors import physical_cores
from benchmarks.spec import experiment as experiments
from results.statistics import Ratio
from tests.handwritten import __main__ as overhead
from tests.handwritten import through_dask
from tests.handwritten.__main__ import (
    EXPERIMENTS,
    FRAMEWORKS,
    INSTEAD,
    SAME_LOSS,
    Comparison,
    best_against_tutorials,
    check_same_work,
    make_materials,
)
from tests.handwritten.contest import Loop, LoopFailed, Setting, Worker, rates
from tests.handwritten.turns import batches_of

STEPS = 10

FIRST_MODES = [(name, next(iter(environments.find(name).modes))) for name in FRAMEWORKS]
"""``nox -s overhead`` compares the losses of every mode with its expert's before it measures them."""


@pytest.fixture(scope="module")
def materials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, interpreters: Interpreters
) -> Materials:
    return make_materials(EXPERIMENTS[request.param], tmp_path_factory.mktemp("materials"), interpreters)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, interpreters: Interpreters) -> Materials:
    """One experiment, where it makes no difference which."""
    return make_materials(EXPERIMENTS["mlp"], tmp_path_factory.mktemp("small"), interpreters)


def model_of(materials: Materials) -> str:
    return next(model for model, name in EXPERIMENTS.items() if name == materials.name)


def setting_for(framework: str, materials: Materials, folder: Path, interpreters: Interpreters) -> Setting:
    python = interpreters.path(environments.find(framework))
    threads = min(2, len(physical_cores()))  # the tutorial's PyNative crawls on one core
    return Setting(model_of(materials), materials, python, threads, STEPS, folder)


@pytest.mark.parametrize("materials", ["cnn"], indirect=True)
@pytest.mark.parametrize(("framework", "mode"), FIRST_MODES)
def test_an_experts_loop_does_what_lockstep_does(
    materials: Materials, tmp_path: Path, interpreters: Interpreters, framework: str, mode: str
) -> None:
    setting = setting_for(framework, materials, tmp_path, interpreters)
    with (
        closing(Worker(setting, environments.find(framework), mode)) as worker,
        closing(Loop(setting, f"{framework}_loops", mode)) as loop,
    ):
        early = loop.prepare()
        assert early == pytest.approx(worker.prepare(), rel=SAME_LOSS)
        assert loop.window(1, 10) > 0
        worker.window(1, 10)
        assert loop.loss == pytest.approx(worker.loss, rel=0.02), "after epochs, in which rounding grew to 0.006"
        assert loop.loss < early


@pytest.mark.parametrize("materials", ["mlp"], indirect=True)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_tutorials_loop_trains(
    materials: Materials, tmp_path: Path, interpreters: Interpreters, framework: str
) -> None:
    setting = setting_for(framework, materials, tmp_path, interpreters)
    with closing(Loop(setting, f"tutorial_{framework}", "tutorial")) as loop:
        early = loop.prepare()
        assert loop.window(1, 5) > 0
        assert loop.loss < early


def test_a_loop_that_does_other_work_is_refused() -> None:
    contestants = [Sleeper(name, 0.1, set()) for name in ("ours a", "theirs a", "ours b", "theirs b", "tutorial")]
    check_same_work(contestants, [1.0, 1.00005, 2.0, 1.9999, 7.0])
    with pytest.raises(LoopFailed, match=r"^theirs b: its loss after 50 steps is 2.1, that of ours b 2; they have not"):
        check_same_work(contestants, [1.0, 1.0, 2.0, 2.1, 7.0])


def test_a_loop_with_another_model_is_refused(tmp_path: Path, small: Materials, interpreters: Interpreters) -> None:
    python = interpreters.path(environments.find("pytorch"))
    setting = Setting(model_of(small), replace(small, parameter_count=7), python, 1, STEPS, tmp_path)
    with (
        closing(Loop(setting, "pytorch_loops", "eager")) as loop,
        pytest.raises(LoopFailed, match="parameters, not 7"),
    ):
        loop.prepare()


def test_a_loop_that_ends_early_is_named_with_the_reason(
    tmp_path: Path, small: Materials, interpreters: Interpreters
) -> None:
    python = interpreters.path(environments.find("pytorch"))
    setting = Setting("transformer", small, python, 1, STEPS, tmp_path)
    with (
        closing(Loop(setting, "pytorch_loops", "eager")) as loop,
        pytest.raises(LoopFailed, match=r"pytorch_loops eager: .*invalid choice"),
    ):
        loop.prepare()


def test_a_worker_below_dask_trains_and_everything_of_it_waits_for_its_turn(
    tmp_path: Path, small: Materials, interpreters: Interpreters
) -> None:
    backend = environments.find("jax")
    setting = Setting(model_of(small), small, interpreters.path(backend), 1, STEPS, tmp_path / "dask")
    with (
        through_dask.started(tmp_path) as cluster,
        closing(through_dask.Remote(setting, backend, "jit", cluster)) as remote,
    ):
        remote.prepare()
        assert remote.train(2) > 0
        workers = [psutil.Process(remote.pid), *(psutil.Process(process.pid) for process in cluster.processes)]
        above = {parent.pid for parent in workers[0].parents()}
        assert cluster.processes[1].pid in above, "it is below the Dask worker"
        remote.pause()
        deadline = time.monotonic() + 5  # a signal takes a moment
        while {process.status() for process in workers} != {psutil.STATUS_STOPPED}:
            assert time.monotonic() < deadline, [process.status() for process in workers]
            time.sleep(0.01)
        remote.resume()
        assert remote.train(1) > 0
    assert not any(process.is_running() for process in workers)


def test_batches_are_taken_in_their_order_again_and_again(tmp_path: Path) -> None:
    order = np.arange(10).reshape(5, 2)
    np.save(tmp_path / "order.npy", order)
    calls = batches_of(tmp_path / "order.npy", 3)
    assert np.concatenate(list(islice(calls, 5))).tolist() == [*order.tolist()] * 3


class Sleeper:
    """A contestant with a given speed, that notes when it runs."""

    pid = os.getpid()

    def __init__(self, name: str, seconds: float, running: set[str], steps: int = 50) -> None:
        self.name, self._seconds, self._running, self.steps = name, seconds, running, steps
        self.calls: list[int] = []

    def prepare(self) -> float:
        return 1.0

    def train(self, calls: int) -> float:
        assert self._running == {self.name}, "exactly one has the turn"
        self.calls.append(calls)
        return calls * self._seconds

    def window(self, lead_in: int, calls: int) -> float:
        self.train(lead_in)
        return self.train(calls)

    def pause(self) -> None:
        self._running.remove(self.name)

    def resume(self) -> None:
        self._running.add(self.name)

    def close(self) -> None: ...


def test_one_at_a_time_has_the_turn_with_a_lead_in_and_who_is_compared_has_as_many_calls() -> None:
    running: set[str] = set()
    speeds = {"slow": (0.05, 50), "fast": (0.01, 50), "tutorial": (0.05, 5)}
    contestants = [Sleeper(name, seconds, running, steps) for name, (seconds, steps) in speeds.items()]
    measured = rates(contestants, 4, [], np.random.default_rng(1))
    assert measured == pytest.approx(np.tile([50 / 0.05, 50 / 0.01, 5 / 0.05], (4, 1)))
    assert [one.calls[-8:] for one in contestants] == [[3, 10] * 4, [3, 10] * 4, [1, 2] * 4]


def test_slow_neighbours_take_turns_until_their_windows_are_long_enough() -> None:
    running: set[str] = set()
    contestants = [Sleeper(name, seconds, running) for name, seconds in [("a", 4.0), ("b", 2.0), ("tutorial", 0.1)]]
    measured = rates(contestants, 5, [], np.random.default_rng(1))
    assert np.isfinite(measured).sum(axis=0).tolist() == [4, 4, 5], "both of them: 18 s are not enough, 24 s are"
    assert not np.isnan(measured[:4]).any()


def test_who_is_compared_is_neighbour_in_time() -> None:
    running: set[str] = set()
    order: list[str] = []

    class Noted(Sleeper):
        def window(self, lead_in: int, calls: int) -> float:
            order.append(self.name)
            return super().window(lead_in, calls)

    names = ["ours a", "theirs a", "ours b", "theirs b", "tutorial"]
    rates([Noted(name, 0.1, running) for name in names], 40, [], np.random.default_rng(1))
    turns = {tuple(order[start : start + 5]) for start in range(0, len(order), 5)}
    assert all(abs(turn.index(f"ours {pair}") - turn.index(f"theirs {pair}")) == 1 for turn in turns for pair in "ab")
    assert len(turns) > 12, "of the 24 orders that are left, most come about"


@pytest.mark.parametrize(
    ("end", "number", "told"),
    [
        (KeyboardInterrupt, 2, "1.000 (0.88"),
        (LoopFailed, 2, "1.000 (0.88"),
        (KeyboardInterrupt, 1, "0.990 (one round has no interval)"),
    ],
)
def test_a_command_that_is_cut_short_tells_the_ratios_that_it_has(
    tmp_path: Path,
    small: Materials,
    monkeypatch: pytest.MonkeyPatch,
    end: type[BaseException],
    number: int,
    told: str,
) -> None:
    measured = [
        {"lockstep jit": np.array([99.0, 99.0]), "jax_loops jit": np.array([100.0, 100.0])},
        {"lockstep jit": np.array([101.0, 101.0]), "jax_loops jit": np.array([100.0, 100.0])},
    ]
    rounds = iter(measured[:number])

    def run_round(*_: object) -> dict[str, NDArray[np.float64]]:
        try:
            return next(rounds)
        except StopIteration:
            raise end from None

    monkeypatch.setattr(overhead, "run_round", run_round)
    printed = StringIO()
    console = Console(file=printed, width=120)
    setting = Setting("mlp", small, Path("python"), 1, STEPS, tmp_path / "jax-mlp")
    with pytest.raises(end):
        overhead.run_rounds("jax", setting, argparse.Namespace(rounds=5, turns=2), None, console)
    assert printed.getvalue().startswith(f"mlp jax jit / expert: {told}")


@pytest.mark.parametrize(
    ("opponent", "figures", "within"),
    [
        ("expert", (0.99, 0.97, 1.01), True),
        ("expert", (0.97, 0.90, 1.10), False),
        ("expert", (0.99, 0.985, 0.995), False),
        ("dask", (1.01, 0.99, 1.03), True),
        ("dask", (0.95, 0.93, 0.97), True),
        ("dask", (1.03, 0.99, 1.07), False),
        ("dask", (1.01, 1.005, 1.015), False),
        ("tutorial", (2.1, 1.9, 2.3), True),
        ("tutorial", (1.9, 1.7, 2.1), False),
    ],
)
def test_bounds(opponent: str, figures: tuple[float, float, float], within: bool) -> None:
    assert Comparison("jax", "mlp", "jit", opponent, 1.0, 1.0, Ratio(*figures)).within_bounds == within


def test_larger_models_have_a_bound_of_their_own_and_generated_pictures_of_the_right_shape() -> None:
    larger = Comparison("jax", "resnet", "jit", "expert", 1.0, 1.0, Ratio(0.975, 0.95, 1.0))
    assert larger.within_bounds
    assert larger.bound == "at least 0.97"
    for name, keys in INSTEAD.items():
        path = experiments.find(name)
        assert experiments.load(path, keys).data.sample_shape == experiments.load(path).data.sample_shape


def test_against_a_tutorial_the_fastest_mode_counts_where_there_is_a_bound() -> None:
    def one(framework: str, mode: str, ratio: float) -> Comparison:
        return Comparison(framework, "mlp", mode, "tutorial", ratio, 1.0, Ratio(ratio, ratio, ratio))

    fastest = one("mindspore", "graph", 9.0)
    assert best_against_tutorials([one("mindspore", "pynative", 1.0), fastest, one("jax", "jit", 1.0)]) == [fastest]
