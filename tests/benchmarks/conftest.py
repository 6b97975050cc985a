"""What tests of benches share: no report at the end, which takes longer than all else, unless it is asked for."""

from __future__ import annotations

import pytest

from benchmarks.session import outcome


@pytest.fixture
def page() -> None:
    """Have the report written."""


@pytest.fixture(autouse=True)
def no_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out, unless ``page`` is used."""
    if "page" not in request.fixturenames:
        monkeypatch.setattr(outcome, "of_runs", lambda runs: [])
        monkeypatch.setattr(outcome, "write", lambda *_, **__: None)
