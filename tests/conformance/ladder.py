"""The ladder: all rungs in the order in which a backend is written, and what each stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.conformance.cases import Files
from tests.conformance.findings import Evidence, Finding, Rung
from tests.conformance.recording import NotReached, Timing
from tests.conformance.rungs.before_training import describe, gpu, layouts, loading, outputs, prediction, start
from tests.conformance.rungs.processes import cuts, determinism, loader
from tests.conformance.rungs.timing import idle, synchronize
from tests.conformance.rungs.training import loss, one_step, short_batch, training


@dataclass(frozen=True)
class Step:
    """A rung that is still to be judged, once those that it stands on hold."""

    name: str
    judge: Callable[[Evidence], Finding]
    needs: Sequence[str] = ()


def ladder(files: Mapping[str, Files], cut: str, repeated: str, timing: Timing | str | None) -> list[Step]:
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
        *([] if timing is None else [Step("synchronize", partial(synchronize, timing))]),
        Step("idle", idle),
    ]


def climb(evidence: Evidence) -> list[Rung]:
    """Judge every rung; one that cannot be judged has failed as well."""
    findings: dict[str, Finding] = {}
    cut, repeated = evidence.whole.example.name, evidence.repeated.example.name
    for step in ladder(evidence.files, cut, repeated, evidence.timing):
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
