"""The rungs: each looks at what was recorded, and says in a line what was found and whether it is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.contract import SGD, Parameters
from backends.hosting.environments import has_nvidia_gpu
from backends.reference import Training
from results.proof.judge import Expectation, Judgement
from tests.conformance.cases import STEPS, Files
from tests.conformance.recording import LARGEST_IDLE_SHARE, LARGEST_WAIT, SMALLEST_RATIO, NotReached, Recording, Timing

Named = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Finding:
    """What a rung found; ``advice`` is shown if it does not hold: what is expected, and what to write next."""

    holds: bool
    figure: str
    advice: str = ""


@dataclass(frozen=True)
class Rung:
    """One line of the list."""

    name: str
    finding: Finding


@dataclass(frozen=True)
class Evidence:
    """All that one mode showed; ``wrong_layers`` says for an example which of its layers is the first wrong one."""

    files: Mapping[str, Files]
    judgements: Mapping[str, Judgement]
    recordings: Mapping[str, Recording]
    repeated: Recording
    whole: Recording
    single_steps: Recording
    loader: Recording
    gpu: tuple[str, str]
    gpu_declared: bool
    timing: Timing | str
    wrong_layers: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """The element that is furthest off, in units of its tolerance."""

    distance: float
    allowed: float
    where: str

    @property
    def share(self) -> float:
        """1 is just allowed; infinite if the element is not a number."""
        return self.distance / self.allowed if np.isfinite(self.distance) else np.inf

    @property
    def holds(self) -> bool:
        """Whether it is allowed."""
        return bool(self.distance <= self.allowed)

    def __str__(self) -> str:
        """For example "largest difference 3.1e-08, allowed 2.4e-07"."""
        text = f"largest difference {self.distance:.1e}, allowed {self.allowed:.1e}"
        return text if self.holds else f"{text}, at {self.where}"


def compare(values: NDArray[np.float32], expected: Expectation, name: str) -> Difference:
    """Compare element by element; ``name`` is what an element is called."""
    if values.shape != expected.values.shape:
        return Difference(np.inf, 0.0, f"{name}: shape {values.shape} instead of {expected.values.shape}")
    distance = np.abs(values.astype(np.float64) - expected.values)
    allowed = np.broadcast_to(expected.tolerance, distance.shape)
    worst = int(np.argmax(np.where(np.isfinite(distance), distance / allowed, np.inf)))
    index = [int(i) for i in np.unravel_index(worst, distance.shape)]
    return Difference(float(distance.flat[worst]), float(allowed.flat[worst]), f"{name} {index}")


def worst(differences: Iterable[Difference]) -> Difference:
    """Return the one that is furthest off."""
    return max(differences, key=lambda difference: difference.share)


# --- the process and what it says of itself --------------------------------------------------------------------


def start(evidence: Evidence) -> Finding:
    """The file can be imported in the backend's environment."""
    recordings = list(evidence.recordings.values())
    for recording in recordings:
        recording.need("import")
    return Finding(True, f"interpreter and import in {min(r.start_seconds for r in recordings):.1f} s")


def loading(evidence: Evidence) -> Finding:
    """Every model loads; a layer or an option that is not supported counts as failed."""
    advice = "load has to build this model with this loss and SGD; only an Unavailable that users will see may be left"
    for name, recording in evidence.recordings.items():
        if "load" not in recording.reached:
            example = recording.example
            what = f"{name} ({example.layers}; {example.loss}; {example.options})"
            return Finding(False, f"{recording.stopped} in {what}", f"{advice}\n{recording.log}")
    return Finding(True, f"{len(evidence.recordings)} models with their loss and SGD")


def describe(evidence: Evidence) -> Finding:
    """``describe`` has the keys that the record of a run shows."""
    recording = evidence.repeated  # one of those that have all cores
    recording.need("describe")
    settings = recording.settings
    kinds: dict[str, Any] = {"versions": dict, "device": str, "threads": int | None, "precision": str}
    wrong = [name for name, kind in kinds.items() if name not in settings or not isinstance(settings[name], kind)]
    wrong += ["threads"] if settings.get("threads") == 0 else []
    if wrong:
        advice = (
            'return at least {"versions": {"package": "1.2"}, "device": "cpu", "threads": 4, "precision": "float32"}, '
            "as it is right after load; threads is None if the framework cannot tell, never 0"
        )
        return Finding(False, f"{', '.join(wrong)}: missing, or not what is expected in {settings}", advice)
    versions = " ".join(f"{name} {version}" for name, version in settings["versions"].items())
    threads = "unknown threads" if settings["threads"] is None else f"{settings['threads']} threads"
    return Finding(True, f"{versions}; {settings['device']}, {threads}, {settings['precision']}")


def gpu(evidence: Evidence) -> Finding:
    """A GPU that is not there, or not supported, is Unavailable with a reason; the CPU can be loaded after that."""
    next(iter(evidence.recordings.values())).need("load")
    status, reason = evidence.gpu
    expected = evidence.gpu_declared and has_nvidia_gpu()
    if status == "unavailable" and reason:
        return Finding(True, f"unavailable: {reason}")
    if status == "loaded" and expected:
        return Finding(True, "there is one, and it loads")
    found = "it loaded all the same" if status == "loaded" else f"{status}: {reason}"
    advice = "load has to raise Unavailable('why') before it changes anything; 'cpu' is tried next"
    return Finding(False, f'load(device="gpu") where there is none: {found}', advice)


# --- the arithmetic ---------------------------------------------------------------------------------------------


def layouts(evidence: Evidence) -> Finding:
    """Weights in are weights out, to the bit, by their canonical names and shapes."""
    count = 0
    for name, recording in evidence.recordings.items():
        wrong = difference_in_bits(recording.weights("loaded"), evidence.files[name].case.initial)
        if wrong:
            advice = "linear weights are [outputs, inputs], conv2d [outputs, inputs, kernel, kernel]; see 'layouts'"
            return Finding(False, f"in {name}, {wrong}", advice)
        count += len(recording.weights("loaded"))
    return Finding(True, f"{count} parameters came back as they went in, to the bit")


def difference_in_bits(found: Named, given: Named) -> str:
    """Say which parameter is not the same to the bit, and how; empty if all are."""
    if found.keys() != given.keys():
        return f"the names are {', '.join(found)}; they have to be {', '.join(given)}"
    for name, values in given.items():
        other = found[name]
        if other.shape != values.shape or other.dtype != values.dtype:
            return f"{name} is {other.dtype} {other.shape}; it has to be {values.dtype} {values.shape}"
        if other.tobytes() != values.tobytes():
            if values.ndim == 2 and values.size == other.size and np.array_equal(other.reshape(-1), values.T.ravel()):
                return f"{name} is transposed"
            return f"{name} differs in {np.count_nonzero(other != values)} of {values.size} values"
    return ""


def outputs(name: str, evidence: Evidence) -> Finding:
    """The outputs before training: the forward pass of every layer."""
    recording = evidence.recordings[name]
    difference = compare(recording.array("outputs"), evidence.judgements[name].logits, "[sample, output]")
    advice = evidence.wrong_layers.get(name, "") or f"compare predict with the formulas in contract.py: {name}"
    return Finding(difference.holds, f"{recording.example.layers}: {difference}", advice)


def prediction(evidence: Evidence) -> Finding:
    """``predict`` gives the same twice, and changes nothing."""
    differing = 0.0
    for name, recording in evidence.recordings.items():
        wrong = difference_in_bits(recording.weights("after predict"), recording.weights("loaded"))
        if wrong:
            advice = "predict must not take steps, nor update anything on the way (such as batch statistics)"
            return Finding(False, f"predict changed the parameters: in {name}, {wrong}", advice)
        differing = max(differing, _far({"": recording.array("outputs again")}, {"": recording.array("outputs")}))
    same = "to the bit" if differing == 0 else f"not to the bit: up to {differing:.1e}"
    return Finding(True, f"twice the same ({same}); the parameters stay as they are, to the bit")


def loss(kind: str, evidence: Evidence) -> Finding:
    """The loss of the first batch."""
    differences = []
    for name, recording in evidence.recordings.items():
        if recording.example.loss == kind:
            losses, expected = recording.array("full batches")[:1], evidence.judgements[name].losses
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
    """The parameters after one step: the backward pass of every layer, and SGD's first step."""
    recording = evidence.recordings[name]
    difference = parameters_off(recording.weights("one step"), evidence.judgements[name])
    example = recording.example
    advice = ""
    if not difference.holds:
        guess = explain(evidence.files[name], recording, steps=1)
        advice = guess or "the gradients or the update are wrong; see SGD in contract.py"
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


def explain(files: Files, recording: Recording, steps: int) -> str:
    """Try what is often done instead, and say which of it gives what was found; empty if none does."""
    case = files.case
    sgd = case.sgd
    suspects: dict[str, SGD] = {
        "nesterov is ignored": replace(sgd, nesterov=False),
        "weight decay is ignored": replace(sgd, weight_decay=0.0),
        "momentum is ignored": replace(sgd, momentum=0.0, nesterov=False),
        "nesterov and weight decay are ignored": replace(sgd, nesterov=False, weight_decay=0.0),
        "the gradient is that of the sum over the batch": replace(
            sgd, learning_rate=sgd.learning_rate * files.example.batch_size
        ),
        "nothing is updated": replace(sgd, learning_rate=0.0),
    }
    right = _trained(files, sgd, steps)
    for text, suspect in suspects.items():
        likely = _trained(files, suspect, steps)
        if steps == 1:
            found: Named = recording.weights("one step")
        else:
            found = {"losses": recording.array("full batches")}
        if suspect != sgd and _far(found, likely) < 0.01 * _far(right, likely):
            return f"these are the numbers that come out if {text}"
    return ""


def _trained(files: Files, sgd: SGD, steps: int) -> dict[str, NDArray[np.float64]]:
    """The parameters after one step, or the losses of several."""
    case = files.case
    run = Training(case.model, case.loss, sgd, case.initial)
    losses = [run.step(case.features[b], case.labels[b]) for b, _ in zip(case.batches, range(steps), strict=False)]
    return dict(run.parameters) if steps == 1 else {"losses": np.array(losses)}


def _far(some: Named, others: Named) -> float:
    """The largest difference; infinite if names or shapes differ, or if something is not a number."""
    if {name: value.shape for name, value in some.items()} != {name: value.shape for name, value in others.items()}:
        return np.inf
    largest = max(float(np.max(np.abs(some[name] - others[name]))) for name in others)
    return largest if np.isfinite(largest) else np.inf


# --- how it runs ------------------------------------------------------------------------------------------------


def determinism(evidence: Evidence) -> Finding:
    """Two processes, the same requests; what differs is reported, and is wrong only where the reference says so."""
    first = evidence.recordings[evidence.repeated.example.name]
    return _same("a second process", first, evidence.repeated, evidence)


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
    off = _far(second.weights("trained"), first.weights("trained"))
    return Finding(True, f"{what}: NOT equal to the bit, within rounding: weights differ by up to {off:.1e}")


def loader(evidence: Evidence) -> Finding:
    """The framework's own input pipeline feeds the same batches in the same order; a mode may be without one."""
    recording = evidence.loader
    if recording.unavailable and "load" not in recording.reached:
        return Finding(True, f"none: {recording.stopped.removeprefix('load: ')}")
    judgement = evidence.judgements[recording.example.name]
    losses = compare(recording.array("losses"), judgement.losses, "step")
    outputs = compare(recording.array("trained outputs"), judgement.trained_logits, "outputs")
    difference = worst([losses, outputs])
    advice = (
        'with input="loader", train takes the samples of each row of batches, row after row: none shuffled or dropped'
    )
    return Finding(difference.holds, f"losses and outputs of {recording.example.name}: {difference}", advice)


def synchronize(evidence: Evidence) -> Finding:
    """Twice the steps take about twice the time, and nothing is waited for afterwards."""
    if isinstance(evidence.timing, str):
        raise NotReached(evidence.timing)
    timing = evidence.timing
    figure = (
        f"{timing.steps} steps {timing.window * 1e3:.0f} ms, twice as many {timing.ratio:.2f} times as long (at least "
        f"{SMALLEST_RATIO}); then parameters waits for {timing.wait_share:.1%} of a window (allowed {LARGEST_WAIT:.0%})"
    )
    advice = "synchronize returns only when losses and parameter updates are done; block on both"
    return Finding(timing.waits, figure, advice)


def idle(evidence: Evidence) -> Finding:
    """After ``synchronize`` the processor time of the process and its children stands still."""
    recordings = list(evidence.recordings.values())
    for recording in recordings:
        recording.need("full batches")
    share = max(recording.busy_share for recording in [*recordings, evidence.loader])
    figure = f"processor time after synchronize: {share:.1%} of a core (allowed {LARGEST_IDLE_SHARE:.0%})"
    advice = "something still runs: a thread of yours, work not waited for, or a pool that spins (look for its setting)"
    return Finding(share <= LARGEST_IDLE_SHARE, figure, advice)


# --- the list ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A rung that is still to be judged, once those that it stands on hold."""

    name: str
    judge: Callable[[Evidence], Finding]
    needs: Sequence[str] = ()


def ladder(files: Mapping[str, Files], cut: str, repeated: str) -> list[Step]:
    """All rungs in the order in which a backend is written; what stops a process stops its rungs as well."""
    kinds = {name: f"loss {example.example.loss}" for name, example in files.items()}
    needs: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        needs.setdefault(kind, []).append(f"outputs {name}")
    return [
        Step("start", start),
        Step("load", loading),
        Step("describe", describe),
        Step("no GPU", gpu),
        Step("layouts", layouts),
        Step("predict", prediction),
        *(Step(f"outputs {name}", partial(outputs, name)) for name in files),
        *(Step(kind, partial(loss, kind.removeprefix("loss ")), needs[kind]) for kind in needs),
        *(
            Step(f"one step {name}", partial(one_step, name), ["layouts", f"outputs {name}", kinds[name]])
            for name in files
        ),
        *(Step(f"training {name}", partial(training, name), [f"one step {name}"]) for name in files),
        Step("short last batch", short_batch, [f"training {name}" for name in files]),
        Step("cuts", cuts, [f"training {cut}"]),
        Step("determinism", determinism, [f"training {repeated}"]),
        Step("loader", loader, [f"training {repeated}"]),
        Step("synchronize", synchronize),
        Step("idle", idle),
    ]


def climb(evidence: Evidence) -> list[Rung]:
    """Judge every rung; one that cannot be judged has failed as well."""
    findings: dict[str, Finding] = {}
    for step in ladder(evidence.files, evidence.whole.example.name, evidence.repeated.example.name):
        missing = [name for name in step.needs if not findings[name].holds]
        if missing:
            findings[step.name] = Finding(False, f"not reached: '{missing[0]}' has to hold first")
            continue
        try:
            findings[step.name] = step.judge(evidence)
        except NotReached as error:
            told = any(error.reason in finding.figure for finding in findings.values())
            reason = "not reached" if told else f"not reached: {error.reason}"
            findings[step.name] = Finding(False, reason, "" if told else error.log)
    return [Rung(name, finding) for name, finding in findings.items()]
