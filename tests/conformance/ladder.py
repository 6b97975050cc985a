"""The ladder: all rungs in the order in which a backend is written, and what each stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from backends.contract import Adam
from benchmarks.worker.process import WorkerError
from tests.conformance.findings import Evidence, Finding, Rung
from tests.conformance.recording import NotReached
from tests.conformance.rungs.before_training import describe, gpu, layouts, loading, outputs, prediction, start
from tests.conformance.rungs.numbers import odd_values
from tests.conformance.rungs.processes import cuts, determinism, loader
from tests.conformance.rungs.timing import idle, synchronize, threads
from tests.conformance.rungs.training import (
    copies,
    loss,
    moments,
    one_step,
    short_batch,
    statistics,
    ties,
    training,
)


@dataclass(frozen=True)
class Step:
    """A rung that is still to be judged, once those that it stands on hold."""

    name: str
    judge: Callable[[Evidence], Finding]
    needs: Sequence[str] = ()


def ladder(evidence: Evidence) -> list[Step]:
    """All rungs in the order in which a backend is written; what stops a process stops its rungs as well."""
    files, cut, repeated = evidence.files, evidence.whole.example.name, evidence.repeated.example.name
    kinds = {name: f"loss {example.example.loss}" for name, example in files.items()}
    needs: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        needs.setdefault(kind, []).append(f"outputs {name}")
    normalized = any(judgement.statistics for judgement in evidence.judgements.values())
    adam = any(isinstance(example.example.optimizer, Adam) for example in files.values())
    first, last = next(iter(files)), next(reversed(files))
    return [
        Step("start", start),
        Step("load", loading),
        Step("describe", describe),
        Step("layouts", layouts),
        Step("predict", prediction),
        *(Step(f"outputs {name}", partial(outputs, name)) for name in files),
        *(Step(kind, partial(loss, kind.removeprefix("loss ")), needs[kind]) for kind in needs),
        *(
            Step(f"one step {name}", partial(one_step, name), ["layouts", f"outputs {name}", kinds[name]])
            for name in files
        ),
        Step("copies", copies, [f"one step {first}"]),
        *(Step(f"training {name}", partial(training, name), [f"one step {name}"]) for name in files),
        *([Step("running statistics", statistics)] if normalized else []),
        *([Step("moments", moments)] if adam else []),
        Step("short last batch", short_batch, [f"training {name}" for name in files]),
        Step("determinism", determinism, [f"training {repeated}"]),
        Step("cuts", cuts, [f"training {cut}"]),
        Step("loader", loader, [f"training {repeated}"]),
        Step("no GPU", gpu),
        *([Step("ties", ties, [f"one step {last}"])] if evidence.ties else []),
        *([Step("odd values", odd_values, [f"outputs {name}" for name in files])] if evidence.odd else []),
        *([Step("threads", threads, ["describe", f"training {repeated}"])] if evidence.threads else []),
        *([Step("synchronize", synchronize)] if evidence.timing else []),
        Step("idle", idle),
    ]


def climb(evidence: Evidence) -> Iterator[Rung]:
    """Judge every rung, as soon as what it looks at is there; one that cannot be judged has failed as well."""
    findings: dict[str, Finding] = {}
    for step in ladder(evidence):
        missing = [name for name in step.needs if not findings[name].holds]
        if missing:
            findings[step.name] = Finding(False, f"not reached: '{missing[0]}' has to hold first")
        else:
            try:
                findings[step.name] = step.judge(evidence)
            except (NotReached, WorkerError) as error:
                reason, log = (error.reason, error.log) if isinstance(error, NotReached) else (str(error), "")
                told = any(reason in finding.figure for finding in findings.values())
                figure = "not reached" if told else f"not reached: {reason}"
                findings[step.name] = Finding(False, figure, "" if told else log)
        yield Rung(step.name, findings[step.name])
