"""The conformance kit: takes each mode of a backend through the contract, in the backend's own environment.

``load`` is called once per process, so every example has one of its own. Most of them run side by side on one core
each, and are copies of one process that has imported the framework; the two whose equality is checked have all cores,
where threads could make a difference, and an import each. What is timed runs alone, and on one core: threads that meet
at barriers take arbitrarily long when someone else uses one of their cores.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from backends.contract import BatchNorm, Conv2d, Linear, MaxPool2d
from backends.float64.training import Training
from backends.hosting.environments import BackendFile
from benchmarks.machine.processors import physical_cores
from results.proof.judge import Expectation, Judgement, judge
from tests.conformance.cases import (
    EXAMPLES,
    LAYERS_ALONE,
    SPEED,
    THREADS,
    Example,
    Files,
    describe_layer,
    first_layers,
    write,
    write_odd,
    write_ties,
)
from tests.conformance.findings import Evidence, Odd, Rung, compare
from tests.conformance.hosting import SharedHost
from tests.conformance.ladder import climb
from tests.conformance.probes import outputs_of
from tests.conformance.recording import TIMEOUT, Target
from tests.conformance.work import Exercises, Expect, Work

BUDGET_OF_THE_JUDGE = 600.0
"""Seconds; so much that it never cuts an example short."""


@dataclass(frozen=True)
class Report:
    """All rungs of one mode, and the seconds that they took."""

    mode: str
    rungs: list[Rung]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every rung holds."""
        return all(rung.finding.holds for rung in self.rungs)


class Kit:
    """The examples and what the reference makes of them; they serve every mode of every backend."""

    def __init__(self, folder: Path, examples: Sequence[Example] = EXAMPLES, timeout: float = TIMEOUT) -> None:
        """Write the examples below ``folder``, where the workers get their own folders too."""
        folder.mkdir(exist_ok=True)
        self._folder, self._timeout = folder, timeout
        self._files = {example.name: write(example, folder / example.name) for example in examples}
        self._judgements = {name: judged(files) for name, files in self._files.items()}
        self._numbers = itertools.count()
        self._hosts: dict[tuple[Path, bytes, Path], SharedHost] = {}
        """At most one: the modes of a backend come one after the other."""
        self._caches: dict[Path, Path] = {}
        self._ties: dict[str, Files] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the process that workers were copied from."""
        self._end_hosts()

    def check(
        self,
        backend: BackendFile,
        python: Path,
        mode: str,
        device: str = "cpu",
        examples: Sequence[str] = (),
        quick: bool = False,
        tell: Callable[[Rung], None] = lambda rung: None,
        expect: Expect = lambda seconds: None,
    ) -> Report:
        """Take one mode through all rungs, with the examples of these names, or with all.

        The first one is also trained in other cuts, and the last one once more as it is and through a loader. With
        ``quick`` nothing is timed, all workers have one core, so that a compiler has nothing to do twice, and what
        would have it compile other models is left out. Each rung is told as soon as it is judged, and what there is
        still to come as soon as that can be judged.
        """
        chosen = {name: self._files[name] for name in examples or self._files}
        begin = time.perf_counter()
        cores = physical_cores()
        cache = self._cache(backend.path)
        alone = Target(backend.path, python, mode, device, (cores[-1],), cache, timeout=self._timeout)
        host = self._host(alone)
        copied = replace(alone, host=host if host.copyable else None)
        together = copied if quick else replace(alone, processors=tuple(cores))
        exercises = self._exercises(chosen, quick, len(cores))
        work = Work(copied, together, cores, chosen, exercises, self._new_folder)
        rungs = []
        with ThreadPoolExecutor(len(cores)) as pool, ThreadPoolExecutor(1) as conductor:
            try:
                conducted = conductor.submit(work.run, pool, expect)
                evidence = self._evidence(work, chosen, exercises, "gpu" in backend.devices, pool)
                for rung in climb(evidence):
                    tell(rung)
                    rungs.append(rung)
                conducted.result()
            finally:  # if not everything has come, whoever works is not waited for
                alone.crew.dismiss()
        return Report(mode, rungs, time.perf_counter() - begin)

    def _exercises(self, chosen: dict[str, Files], quick: bool, cores: int) -> Exercises:
        """What is done besides taking the examples to their ends."""
        pooling = [files.example for files in chosen.values() if _can_tie(files.example)]
        ties = self._with_ties(pooling[0]) if pooling else None
        if quick:
            return Exercises(ties)
        return Exercises(ties, self._odd, self._threads if cores > 1 else None, self._speed)

    def _evidence(
        self, work: Work, chosen: dict[str, Files], exercises: Exercises, gpu_declared: bool, pool: ThreadPoolExecutor
    ) -> Evidence:
        def wrong_layer(name: str) -> str:
            return pool.submit(self._first_wrong_layer, self._files[name], work).result()

        return Evidence(
            files=chosen,
            judgements=self._judgements,
            recordings=work.recordings,
            repeated=work.repeated,
            whole=work.whole,
            single_steps=work.single_steps,
            loader=work.loader,
            gpu=work.gpu,
            gpu_declared=gpu_declared,
            wrong_layer=wrong_layer,
            ties=(exercises.ties, work.ties) if exercises.ties and work.ties else None,
            odd=work.odd if exercises.odd else None,
            threads=work.threads if exercises.threads else None,
            timing=work.time if exercises.speed else None,
        )

    @cached_property
    def _odd(self) -> dict[str, tuple[Files, Odd]]:
        """Each layer alone, and what the reference makes of odd values there."""
        found = {}
        for layer in LAYERS_ALONE:
            files = write_odd(layer, self._folder / f"odd-{layer}")
            case = files.case
            with np.errstate(invalid="ignore"):
                outputs = Training(case.model, case.loss, case.optimizer, case.initial).logits(case.judged_features)
            found[layer] = files, Odd(outputs, None)
        return found

    @cached_property
    def _threads(self) -> Files:
        return write(THREADS, self._folder / THREADS.name)

    @cached_property
    def _speed(self) -> Files:
        return write(SPEED, self._folder / SPEED.name)

    def _with_ties(self, example: Example) -> Files:
        if example.name not in self._ties:
            self._ties[example.name] = write_ties(example, self._folder / f"ties-{example.name}")
        return self._ties[example.name]

    def _host(self, target: Target) -> SharedHost:
        """What the workers of one thread are copied from; each mode finds that of the one before it."""
        key = (target.file, target.file.read_bytes(), target.python)
        if key not in self._hosts:
            self._end_hosts()
            folder = self._new_folder()
            folder.mkdir()
            self._hosts[key] = SharedHost(target.launch(folder), target.file)
        return self._hosts[key]

    def _cache(self, backend: Path) -> Path:
        """Where compilers keep their results, of all modes of a backend."""
        if backend not in self._caches:
            self._caches[backend] = self._new_folder()
            self._caches[backend].mkdir()
        return self._caches[backend]

    def _end_hosts(self) -> None:
        for host in self._hosts.values():
            host.end()
        self._hosts.clear()

    def _first_wrong_layer(self, files: Files, work: Work) -> str:
        """Find the first wrong layer of an example by loading the model's beginnings alone."""
        layers = files.example.model.layers
        first_with_weights = next(i for i, layer in enumerate(layers) if isinstance(layer, Linear | Conv2d))
        beginnings = {
            str(count): write(first_layers(files.example, count), self._new_folder())
            for count in range(first_with_weights + 1, len(layers) + 1)
        }
        found = work.on_a_core(lambda target: outputs_of(target, beginnings, self._new_folder()))
        for count, outputs in found.items():
            expected = judged(beginnings[count]).logits
            if outputs is None or not compare(outputs, expected, "").holds:
                layer = f"layers[{int(count) - 1}], {describe_layer(layers[int(count) - 1])}"
                if outputs is not None and compare(np.sort(outputs), in_order(expected), "").holds:
                    return f"flatten has to keep the order channels, height, width: after {layer} it does not"
                return f"the first wrong layer is {layer}"
        return "each layer is right when the model ends there"

    def _new_folder(self) -> Path:
        """A path that nobody has; whoever gets it makes it."""
        return self._folder / f"{next(self._numbers):04d}"


def _can_tie(example: Example) -> bool:
    """Whether weights can make all elements tie that a max pool chooses from: batch normalization moves them again."""
    kinds = {type(layer) for layer in example.model.layers}
    return MaxPool2d in kinds and BatchNorm not in kinds


def in_order(expected: Expectation) -> Expectation:
    """Forget which value stands where in a sample."""
    return Expectation(np.sort(expected.values), expected.tolerance)


def judged(files: Files) -> Judgement:
    """What the reference makes of an example, and how far off float32 may be."""
    return judge(files.case, BUDGET_OF_THE_JUDGE)
