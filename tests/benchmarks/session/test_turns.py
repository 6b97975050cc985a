"""Who is timed when, and who goes on until the ratio is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from benchmarks.cell.run import CellRun
from benchmarks.session import turns
from benchmarks.session.turns import FEW, MOST, take_turns
from results.statistics import standard_error


class Timed:
    """A run whose windows take what it is told, and that writes down when it was timed."""

    def __init__(self, name: str, seconds: Callable[[], float], log: list[tuple[int, str]]) -> None:
        self.cell = SimpleNamespace(backend=SimpleNamespace(name=name), mode="eager")
        self.alive = True
        self.step_seconds: list[float] = []
        self._seconds = seconds
        self._log = log
        self._has_the_turn = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._has_the_turn = True
        yield
        self._has_the_turn = False

    def timed_window(self, turn: int) -> None:
        assert self._has_the_turn
        self._log.append((turn, str(self.cell.backend.name)))
        self.step_seconds.append(self._seconds())


def timed(names: str, noisy: str = "", asked: int = 20, baseline: str = "a", seed: int = 1) -> list[tuple[int, str]]:
    """Who was timed in which turn, if the windows of some spread by 1 % and of the noisy ones by 20 %."""
    log: list[tuple[int, str]] = []
    generator = np.random.default_rng(0)

    def spreading(spread: float) -> Callable[[], float]:
        return lambda: float(np.exp(generator.normal(0, spread)))

    runs = [Timed(name, spreading(0.2 if name in noisy else 0.01), log) for name in names]
    told = list(take_turns(cast(Sequence[CellRun], runs), asked, (baseline, "eager"), seed))
    assert told == list(range(1, max(turn for turn, _ in log) + 1))
    return log


def in_turn(log: list[tuple[int, str]], number: int) -> str:
    return "".join(name for turn, name in log if turn == number)


def test_every_turn_has_every_worker_once_in_an_order_of_its_own_that_can_be_repeated() -> None:
    log = timed("abcde", asked=40, seed=3)
    orders = [in_turn(log, turn) for turn in range(1, 41)]
    assert all(sorted(order) == list("abcde") for order in orders)
    assert len(set(orders)) > 20
    assert {order[0] for order in orders} == set("abcde"), "nobody always comes first"
    assert log == timed("abcde", asked=40, seed=3)
    assert log != timed("abcde", asked=40, seed=4)


def test_quiet_workers_take_the_turns_that_are_asked_for_and_no_more() -> None:
    assert max(turn for turn, _ in timed("abc")) == 20


def test_a_noisy_worker_and_its_baseline_go_on_and_the_others_do_not() -> None:
    log = timed("abc", noisy="c")
    assert {frozenset(in_turn(log, turn)) for turn in range(1, 21)} == {frozenset("abc")}
    assert {frozenset(in_turn(log, turn)) for turn in range(21, 20 * MOST + 1)} == {frozenset("ac")}
    assert max(turn for turn, _ in log) == 20 * MOST, "there is an end to it"


def test_who_is_far_from_all_others_takes_a_few_turns_however_noisy_it_is() -> None:
    log: list[tuple[int, str]] = []
    noise = np.random.default_rng(0)
    runs = [
        Timed("a", lambda: 1.0, log),
        Timed("b", lambda: float(2 * np.exp(noise.normal(0, 0.1))), log),
        Timed("c", lambda: 1.02, log),
    ]
    assert list(take_turns(cast(Sequence[CellRun], runs), 20, ("a", "eager"), 1))[-1] == 20
    assert {name: sum(other == name for _, other in log) for name in "abc"} == {"a": 20, "b": FEW, "c": 20}


def test_turns_end_when_all_are_far_from_each_other() -> None:
    runs = [Timed("a", lambda: 1.0, []), Timed("b", lambda: 2.0, [])]
    assert list(take_turns(cast(Sequence[CellRun], runs), 20, ("a", "eager"), 1))[-1] == FEW


def test_nobody_goes_on_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST", -1.0)
    assert max(turn for turn, _ in timed("abc", noisy="c")) == 20


def test_going_on_ends_as_soon_as_the_ratio_is_sure_enough() -> None:
    log: list[tuple[int, str]] = []
    noise = iter([*np.random.default_rng(0).normal(0, 0.1, 20), *[0.0] * 40])
    runs = [Timed("a", lambda: 1.0, log), Timed("b", lambda: float(np.exp(next(noise))), log)]
    assert 20 < list(take_turns(cast(Sequence[CellRun], runs), 20, ("a", "eager"), 1))[-1] < 60


def test_all_go_on_with_a_noisy_baseline() -> None:
    log = timed("abc", noisy="b", baseline="b")
    assert set(in_turn(log, 21)) == set("abc")


def test_the_first_worker_takes_the_place_of_a_baseline_that_is_not_there() -> None:
    log = timed("abc", noisy="c", baseline="z")
    assert set(in_turn(log, 21)) == set("ac")


def test_who_has_died_is_not_waited_for() -> None:
    log: list[tuple[int, str]] = []
    runs = [Timed("a", lambda: 1.0, log), Timed("b", lambda: 1.0, log)]
    runs[1].alive = False
    runs[1].step_seconds = []
    assert list(take_turns(cast(Sequence[CellRun], runs), 3, ("b", "eager"), 1)) == [1, 2, 3]


def test_the_standard_error_is_that_of_the_median() -> None:
    samples = np.random.default_rng(0).normal(0, 2.0, (4000, 25))
    told = np.median([standard_error(row) for row in samples])
    assert told == pytest.approx(np.median(samples, axis=1).std(), rel=0.1)
    assert standard_error(np.array([*samples[0], 1e6])) < 1.5 * standard_error(samples[0]), "an outlier does not count"
