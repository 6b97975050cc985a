"""What people read of the phase in which a run ended."""

from __future__ import annotations

import pytest

from results.record import NOT_STARTED, PHASES, compiled_kind, phase_label, where_and_why


@pytest.mark.parametrize(
    ("phase", "text"),
    [("put", "in data to device: no memory"), ("load", "in load: no memory"), (NOT_STARTED, "no memory")],
)
def test_a_reason_is_told_with_its_phase_if_the_run_had_begun(phase: str, text: str) -> None:
    assert where_and_why(phase, "no memory") == text


@pytest.mark.parametrize(
    ("compiled", "kind"),
    [
        ("", "eager"),
        ("forward", "in part"),
        ("forward, loss, backward", "forward and backward"),
        ("forward, loss, backward, update", "whole step"),
        ("gather, forward, loss, backward, update, loop", "loop over steps"),
    ],
)
def test_modes_that_compile_as_much_are_of_a_kind(compiled: str, kind: str) -> None:
    assert compiled_kind(compiled) == kind


def test_phases_are_words_of_their_own() -> None:
    labels = [phase_label(phase) for phase in PHASES]
    assert len(set(labels)) == len(PHASES)
    assert not any("_" in label for label in labels)
