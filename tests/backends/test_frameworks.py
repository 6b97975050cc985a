"""Every backend in the folder, in each of its modes and its own environment, passes the conformance kit."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from backends import environments
from backends.environments import Interpreters
from benchmarks import machine
from tests.conformance.__main__ import show
from tests.conformance.cases import EXAMPLES, STEPS, write
from tests.conformance.kit import Kit, judged
from tests.conformance.recording import Target, load, order, put, worker

MODES = [(name, mode) for name in environments.names() if name != "reference" for mode in environments.find(name).modes]

LONG = 70
"""Steps, more than the 64 losses that JAX's jitted step has room for before it is compiled for more."""


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


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_every_step_has_its_loss_in_calls_that_are_under_way_together_and_in_a_long_one(
    tmp_path: Path, interpreters: Interpreters, name: str, mode: str
) -> None:
    """A timed window asks for all of its calls before it synchronizes the first."""
    backend = environments.find(name)
    files = write(EXAMPLES[0], tmp_path / "example")
    target = Target(backend.path, interpreters.path(backend), mode, "cpu", tuple(machine.physical_cores()))
    with worker(target, tmp_path / "worker") as process:
        load(process, files, target, "cpu")
        put(process, files, "train", len(files.case.features))
        order(process, files)
        (losses,) = process.ask("train", start=0, steps=2, windows=[STEPS // 2]).arrays
        (of_a_long_call,) = process.ask("train", start=0, steps=LONG).arrays
    assert of_a_long_call.shape == (LONG,)
    np.testing.assert_allclose(losses, judged(files).losses.values[:STEPS], rtol=1e-4)


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_a_framework_on_one_processor_reports_one_thread(
    tmp_path: Path, interpreters: Interpreters, name: str, mode: str
) -> None:
    """Else every sentence that compares it would end with a caution about threads."""
    backend = environments.find(name)
    files = write(EXAMPLES[0], tmp_path / "example")
    target = Target(backend.path, interpreters.path(backend), mode, "cpu", tuple(machine.physical_cores()[-1:]))
    with worker(target, tmp_path / "worker") as process:
        load(process, files, target, "cpu")
        put(process, files, "train", len(files.case.features))
        order(process, files)
        process.ask("train", start=0, steps=STEPS)
        assert process.ask("describe").values["settings"]["threads"] == 1


@pytest.mark.parametrize(("mode", "blocking"), [("pynative", True), ("graph", False)])
def test_mindspores_pynative_launches_without_its_pipeline_on_one_processor(
    tmp_path: Path, interpreters: Interpreters, mode: str, blocking: bool
) -> None:
    backend = environments.find("mindspore")
    files = write(EXAMPLES[0], tmp_path / "example")
    target = Target(backend.path, interpreters.path(backend), mode, "cpu", tuple(machine.physical_cores()[-1:]))
    with worker(target, tmp_path / "worker") as process:
        load(process, files, target, "cpu")
        assert process.ask("describe").values["settings"]["launch_blocking"] is blocking
