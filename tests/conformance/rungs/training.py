"""The rungs of training: the first loss, one step, all full batches, the short last one, and what has been kept."""

from __future__ import annotations

import numpy as np

from backends.contract import Adam, Parameters
from backends.float64.training import Training
from results.proof.audit import MOMENTS, moment
from results.proof.judge import Expectation, Judgement
from tests.conformance.cases import STEPS
from tests.conformance.explanation import explain
from tests.conformance.findings import Difference, Evidence, Finding, compare, difference_in_bits, worst


def loss(kind: str, evidence: Evidence) -> Finding:
    """The loss of the first batch."""
    differences = []
    for name, recording in evidence.recordings.items():
        if recording.example.loss == kind:
            losses, expected = recording.array("first losses")[:1], evidence.judgements[name].losses
            differences.append(compare(losses, Expectation(expected.values[:1], expected.tolerance[:1]), name))
            if not differences[-1].holds:
                break
    difference = worst(differences)
    advice = (
        "the loss is the mean over the batch of -log softmax(outputs)[label]"
        if kind == "cross-entropy"
        else "the loss is the mean over samples and outputs of (outputs - targets)^2, without a factor 1/2"
    )
    return Finding(difference.holds, f"{len(differences)} models: {difference}", advice)


def one_step(name: str, evidence: Evidence) -> Finding:
    """The parameters after one step: the backward pass of every layer, and the optimizer's first step."""
    recording = evidence.recordings[name]
    difference = parameters_off(recording.weights("one step"), evidence.judgements[name])
    example = recording.example
    advice = ""
    if not difference.holds:
        guess = explain(evidence.files[name], recording, steps=1)
        advice = guess or "the gradients or the update are wrong; see SGD and Adam in contract.py"
    return Finding(difference.holds, f"{example.options}: {difference}", advice)


def parameters_off(found: Parameters, judgement: Judgement) -> Difference:
    """Compare parameters after one step with what is expected of them."""
    if found.keys() != judgement.first_step.keys():
        return Difference(np.inf, 0.0, f"parameters: {', '.join(found)}")
    return worst(compare(found[key], expected, key) for key, expected in judgement.first_step.items())


def training(name: str, evidence: Evidence) -> Finding:
    """The losses of all full batches."""
    recording, expected = evidence.recordings[name], evidence.judgements[name].losses
    window = Expectation(expected.values[:STEPS], expected.tolerance[:STEPS])
    difference = compare(recording.array("full batches"), window, "step")
    advice = "" if difference.holds else explain(evidence.files[name], recording, steps=STEPS)
    figure = f"losses of {STEPS} steps, {recording.example.options}: {difference}"
    return Finding(difference.holds, figure, advice or "the steps after the first one are wrong")


def short_batch(evidence: Evidence) -> Finding:
    """The short last batch counts as a step of its own size; training goes on after it, and ends at the same model."""
    differences = []
    for name, recording in evidence.recordings.items():
        judgement = evidence.judgements[name]
        rest = Expectation(judgement.losses.values[STEPS:], judgement.losses.tolerance[STEPS:])
        differences.append(compare(recording.array("losses")[STEPS:], rest, f"{name}: step {STEPS} +"))
        trained = compare(recording.array("trained outputs"), judgement.trained_logits, f"{name}: outputs")
        differences.append(trained)
    difference = worst(differences)
    sizes = sorted({(r.example.last_batch, r.example.batch_size) for r in evidence.recordings.values()})
    text = " and ".join(f"{last} samples after batches of {batch}" for last, batch in sizes)
    advice = "train gets batches of any size; a short one is neither dropped, padded, nor divided by the full size"
    return Finding(difference.holds, f"{text}: {difference}", advice)


def statistics(evidence: Evidence) -> Finding:
    """The running statistics after training."""
    differences = []
    for name, recording in evidence.recordings.items():
        for parameter, expected in evidence.judgements[name].statistics.items():
            trained = recording.weights("trained")
            differences.append(compare(trained[parameter], expected, f"{name}: {parameter}"))
    difference = worst(differences)
    advice = (
        "running = (1 - momentum) * running + momentum * of the batch, once in every step; the variance that is kept "
        "is divided by the number of values less one; predict leaves both alone"
    )
    return Finding(difference.holds, f"{len(differences)} arrays: {difference}", advice)


def moments(evidence: Evidence) -> Finding:
    """Adam's moments after training."""
    differences = []
    for name, recording in evidence.recordings.items():
        if isinstance(recording.example.optimizer, Adam):
            found, case = recording.weights("moments"), evidence.files[name].case
            run = case.training(case.initial)
            for index in range(len(case.batches)):
                case.step(run, index)
            for which in MOMENTS:
                right = {parameter: getattr(kept, which) for parameter, kept in run.state.items()}
                # Of all: those of a bias before batch normalization, which does nothing, are nothing but rounding.
                allowed = MOMENTS_ALLOWED * max(np.abs(values).max() for values in right.values())
                for parameter, values in right.items():
                    key = moment(parameter, which)
                    differences.append(compare(found[key], Expectation(values, allowed), f"{name}: {key}"))
    difference = worst(differences)
    advice = "moments returns m and v of every parameter that has a gradient, as they are before their correction"
    return Finding(difference.holds, f"{len(differences)} arrays: {difference}", advice)


MOMENTS_ALLOWED = 0.01
"""Of the largest value in a model: rounding makes a thousandth of this, and another meaning several times as much."""

TIES_ALLOWED = 0.01
"""Of the largest change of a parameter: another choice is as large as that, and rounding a thousandth of this."""


def ties(evidence: Evidence) -> Finding:
    """Where elements of a max pool's window are equal, the first one has the gradient, as with all three frameworks."""
    assert evidence.ties
    files, recording = evidence.ties
    case, found = files.case, recording.weights("one step")
    run = Training(case.model, case.loss, case.optimizer, case.initial)
    run.step(case.features[case.batches[0]], case.labels[case.batches[0]])
    difference = worst(
        compare(found[name], Expectation(right, TIES_ALLOWED * np.abs(right - case.initial[name]).max()), name)
        for name, right in run.parameters.items()
    )
    advice = (
        "where several elements of a window are the largest, the first of them in row-major order gets all of the "
        "gradient; some frameworks share it among them"
    )
    return Finding(difference.holds, f"{files.example.name}, one step: {difference}", advice)


def copies(evidence: Evidence) -> Finding:
    """What ``parameters`` returned stays as it is while training goes on."""
    for name, recording in evidence.recordings.items():
        wrong = difference_in_bits(recording.weights("held"), recording.weights("after predict"))
        if wrong:
            advice = "parameters has to return copies: what it returned before a step shares memory with the model"
            return Finding(False, f"arrays of parameters changed with the next step: in {name}, {wrong}", advice)
    return Finding(True, "arrays of parameters stay as they are while training goes on, to the bit")
