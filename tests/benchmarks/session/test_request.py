"""Which modes a command runs: those that are named, or all but those that another one beats everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from backends.hosting import environments
from benchmarks.session.options import Options
from benchmarks.session.request import Request, Selection, left_out, read


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "has_nvidia_gpu", lambda: False)


def request(**selection: Any) -> Request:
    found = read(Selection(["digits-mlp"], ["pytorch", "jax"], threads=1, **selection), Options(), {})
    assert found
    return found


def modes(asked: Request) -> list[str]:
    return [f"{backend.name} {mode}" for backend, mode in asked.modes]


def test_a_mode_that_another_one_beats_everywhere_waits_for_being_named_and_that_is_told() -> None:
    asked = request()
    assert modes(asked) == ["pytorch eager", "pytorch aot", "jax jit", "jax scan"]
    assert "pytorch compile, pytorch step" in left_out(asked)
    named = request(modes=["step", "jit"])
    assert modes(named) == ["pytorch step", "jax jit"]
    assert left_out(named) == ""


@pytest.mark.parametrize("elsewhere", [{"device": "gpu"}, {"overrides": {"replicas": 2}}])
def test_on_a_gpu_or_with_replicas_all_modes_run(elsewhere: dict[str, Any]) -> None:
    asked = request(**elsewhere)
    assert {"pytorch compile", "pytorch step"} < set(modes(asked))
    assert left_out(asked) == ""
