"""The rungs before training: the file starts, models load, weights come back, outputs are right."""

from __future__ import annotations

from typing import Any

from backends.contract import PARTS
from backends.hosting.environments import has_nvidia_gpu
from tests.conformance.findings import Evidence, Finding, compare, difference_in_bits, largest_difference


def start(evidence: Evidence) -> Finding:
    """The file can be imported in the backend's environment."""
    recording = evidence.with_all_cores
    recording.need("import")
    # Of a process with an interpreter and an import of its own, unless the kit was to be quick.
    return Finding(True, f"interpreter and import in {recording.start_seconds:.1f} s")


def loading(evidence: Evidence) -> Finding:
    """Every model loads; a layer or an option that is not supported counts as failed."""
    advice = "load has to build this model with this loss and SGD; only an Unavailable that users will see may be left"
    for name, recording in evidence.recordings.items():
        if not recording.comes_to("load"):
            example = recording.example
            what = f"{name} ({example.layers}; {example.loss}; {example.options})"
            return Finding(False, f"{recording.stopped} in {what}", f"{advice}\n{recording.log}")
    return Finding(True, f"{len(evidence.recordings)} models with their loss and optimizer")


def describe(evidence: Evidence) -> Finding:
    """``describe`` has the keys that the record of a run shows."""
    recording = evidence.with_all_cores
    recording.need("describe")
    settings = recording.settings
    kinds: dict[str, Any] = {"versions": dict, "device": str, "threads": int | None, "precision": str}
    wrong = [name for name, kind in kinds.items() if name not in settings or not isinstance(settings[name], kind)]
    wrong += ["threads"] if settings.get("threads") == 0 else []
    wrong += [] if set(settings.get("compiled", [])) <= set(PARTS) else ["compiled"]
    if wrong:
        advice = (
            'return at least {"versions": {"package": "1.2"}, "device": "cpu", "threads": 4, "precision": "float32"}, '
            "as it is right after load; threads is None if the framework cannot tell, never 0; and where it is known, "
            f'"compiled", a list of what the mode compiles of {", ".join(PARTS)}'
        )
        return Finding(False, f"{', '.join(wrong)}: missing, or not what is expected in {settings}", advice)
    versions = " ".join(f"{name} {version}" for name, version in settings["versions"].items())
    threads = "unknown threads" if settings["threads"] is None else f"{settings['threads']} threads"
    return Finding(True, f"{versions}; {settings['device']}, {threads}, {settings['precision']}")


def gpu(evidence: Evidence) -> Finding:
    """A GPU that is not there, or not supported, is Unavailable with a reason; the CPU can be loaded after that."""
    next(iter(evidence.recordings.values())).need("load")
    status, reason = evidence.gpu.result()
    expected = evidence.gpu_declared and has_nvidia_gpu()
    if status == "unavailable" and reason:
        return Finding(True, f"unavailable: {reason}")
    if status == "loaded" and expected:
        return Finding(True, "there is one, and it loads")
    found = "it loaded all the same" if status == "loaded" else f"{status}: {reason}"
    advice = "load has to raise Unavailable('why') before it changes anything; 'cpu' is tried next"
    return Finding(False, f'load(device="gpu") where there is none: {found}', advice)


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


def outputs(name: str, evidence: Evidence) -> Finding:
    """The outputs before training: the forward pass of every layer."""
    recording = evidence.recordings[name]
    difference = compare(recording.array("outputs"), evidence.judgements[name].logits, "[sample, output]")
    advice = "" if difference.holds else evidence.wrong_layer(name)
    return Finding(difference.holds, f"{recording.example.layers}: {difference}", advice)


def prediction(evidence: Evidence) -> Finding:
    """``predict`` gives the same twice, and changes nothing."""
    differing = 0.0
    for name, recording in evidence.recordings.items():
        wrong = difference_in_bits(recording.weights("after predict"), recording.weights("loaded"))
        if wrong:
            advice = "predict must not take steps, nor update anything on the way (such as batch statistics)"
            return Finding(False, f"predict changed the parameters: in {name}, {wrong}", advice)
        first, again = recording.array("outputs"), recording.array("outputs again")
        differing = max(differing, largest_difference({"": again}, {"": first}))
    same = "to the bit" if differing == 0 else f"not to the bit: up to {differing:.1e}"
    return Finding(True, f"twice the same ({same}); the parameters stay as they are, to the bit")
