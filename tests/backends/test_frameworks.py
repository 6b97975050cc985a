"""Every backend in the folder, in each of its modes and its own environment, passes the conformance kit."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from backends import environments
from backends.environments import Interpreters
from tests.conformance.__main__ import show
from tests.conformance.kit import Kit

MODES = [(name, mode) for name in environments.names() if name != "reference" for mode in environments.find(name).modes]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit"))


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_a_framework_passes_the_kit(kit: Kit, interpreters: Interpreters, name: str, mode: str) -> None:
    backend = environments.find(name)
    report = kit.check(backend, interpreters.path(backend), mode)
    listing = StringIO()
    show(f"{name} {mode}", report, Console(file=listing, width=140))
    assert report.holds, listing.getvalue()
