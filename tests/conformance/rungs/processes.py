"""The rungs of further processes: the same training once more, in other cuts, and through a loader."""

from __future__ import annotations

from tests.conformance.cases import STEPS
from tests.conformance.findings import Evidence, Finding, compare, difference_in_bits, largest_difference, worst
from tests.conformance.recording import Recording


def determinism(evidence: Evidence) -> Finding:
    """Two processes, the same requests; what differs is reported, and is wrong only where the reference says so."""
    return _same("a second process", evidence.with_all_cores, evidence.repeated, evidence)


def cuts(evidence: Evidence) -> Finding:
    """It makes no difference how steps are cut into calls of ``train``."""
    first = evidence.recordings[evidence.whole.example.name]
    one = _same(f"one call of {STEPS} steps", first, evidence.whole, evidence)
    return _same(f"{STEPS} calls of one step", first, evidence.single_steps, evidence) if one.holds else one


def _same(what: str, first: Recording, second: Recording, evidence: Evidence) -> Finding:
    judgement = evidence.judgements[first.example.name]
    advice = "train continues where the last call ended: parameters, velocities and all"
    difference = compare(second.array("losses"), judgement.losses, "step")
    if not difference.holds:
        return Finding(False, f"{what} of {first.example.name} trains something else: {difference}", advice)
    bits = difference_in_bits(second.weights("trained"), first.weights("trained"))
    if not bits and first.array("losses").tobytes() == second.array("losses").tobytes():
        return Finding(True, f"{what}: equal to the bit")
    off = largest_difference(second.weights("trained"), first.weights("trained"))
    return Finding(True, f"{what}: NOT equal to the bit, within rounding: weights differ by up to {off:.1e}")


def loader(evidence: Evidence) -> Finding:
    """The framework's own input pipeline feeds the same batches in the same order; a mode may be without one."""
    recording = evidence.loader
    if not recording.comes_to("load") and recording.status == "unavailable":
        return Finding(True, f"none: {recording.stopped.removeprefix('load: ')}")
    judgement = evidence.judgements[recording.example.name]
    losses = compare(recording.array("losses"), judgement.losses, "step")
    outputs = compare(recording.array("trained outputs"), judgement.trained_logits, "outputs")
    difference = worst([losses, outputs])
    advice = (
        'with input="loader", train takes the samples of each row of batches, row after row: none shuffled or dropped'
    )
    return Finding(difference.holds, f"losses and outputs of {recording.example.name}: {difference}", advice)
