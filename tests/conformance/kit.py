"""The conformance kit: takes each mode of a backend through the contract, in the backend's own environment.

``load`` is called once per process, so every example has one of its own. Most of them run side by side on one core
each, and are copies of one process that has imported the framework; the two whose equality is checked have all cores,
where threads could make a difference, and an import each. What is timed runs alone, and on one core: threads that meet
at barriers take arbitrarily long when someone else uses one of their cores.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

import numpy as np

from backends.contract import Conv2d, Linear
from backends.hosting.environments import BackendFile
from benchmarks.machine.processors import physical_cores
from benchmarks.worker.process import WorkerError
from results.proof.judge import Expectation, Judgement, judge
from tests.conformance import recording
from tests.conformance.cases import EXAMPLES, SPEED, STEPS, Example, Files, describe_layer, first_layers, write
from tests.conformance.findings import Evidence, Rung, compare
from tests.conformance.hosting import SharedHost
from tests.conformance.ladder import climb
from tests.conformance.recording import Recording, Target, Timing

BUDGET_OF_THE_JUDGE = 600.0
"""Seconds; so much that it never cuts an example short."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


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

    def __init__(self, folder: Path, examples: Sequence[Example] = EXAMPLES) -> None:
        """Write the examples below ``folder``, where the workers get their own folders too."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._files = {example.name: write(example, folder / example.name) for example in examples}
        self._speed = write(SPEED, folder / SPEED.name)
        self._judgements = {name: judged(files) for name, files in self._files.items()}
        self._count = 0
        self._hosts: dict[tuple[Path, bytes, Path], SharedHost] = {}
        """At most one: the modes of a backend come one after the other."""
        self._caches: dict[Path, Path] = {}

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
    ) -> Report:
        """Take one mode through all rungs, with the examples of these names, or with all.

        The first one is also trained in other cuts, and the last one once more as it is and through a loader. With
        ``quick`` nothing is timed, and all workers have one core, so that a compiler has nothing to do twice.
        """
        chosen = {name: self._files[name] for name in examples or self._files}
        cut, again = next(iter(chosen.values())), next(reversed(chosen.values()))
        begin = time.perf_counter()
        cores = physical_cores()
        alone = Target(backend.path, python, mode, device, (cores[-1],), self._cache(backend.path))
        host = self._host(alone)
        copied = replace(alone, host=host if host.copyable else None)
        target = copied if quick else replace(alone, processors=tuple(cores))
        # One after the other: a compiler that keeps its results has none yet, and two would do the same work.
        first, repeated = (recording.record(target, again, self._new_folder()) for _ in range(2))
        timing = None if quick else self._timing(copied)
        with SideBySide(copied, cores) as pool:
            running = {
                name: pool.submit(recording.record, files, self._new_folder())
                for name, files in chosen.items()
                if files is not again
            }
            loader = pool.submit(recording.record, again, self._new_folder(), input="loader")
            whole = pool.submit(recording.record, cut, self._new_folder(), (STEPS,))
            recordings = {name: running[name].result() if name in running else first for name in chosen}
            whole.exception()  # wait, so that the next one finds what a compiler has kept
            single_steps = pool.submit(recording.record, cut, self._new_folder(), (1,) * STEPS)
            gpu = pool.submit(recording.probe_gpu, cut, self._new_folder())
            wrong_layers = self._wrong_layers(recordings, pool)
        evidence = Evidence(
            files=chosen,
            judgements=self._judgements,
            recordings=recordings,
            repeated=repeated,
            whole=whole.result(),
            single_steps=single_steps.result(),
            loader=loader.result(),
            gpu=gpu.result(),
            gpu_declared="gpu" in backend.devices,
            timing=timing,
            wrong_layers=wrong_layers,
        )
        return Report(mode, climb(evidence), time.perf_counter() - begin)

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

    def _timing(self, target: Target) -> Timing | str:
        try:
            return recording.time_windows(target, self._speed, self._new_folder())
        except WorkerError as error:
            return str(error)

    def _wrong_layers(self, recordings: Mapping[str, Recording], pool: SideBySide) -> dict[str, str]:
        """For each example with wrong outputs, find the first wrong layer by loading the model's beginnings alone."""
        found = {}
        for name, whole in recordings.items():
            outputs = whole.arrays.get("outputs")
            if outputs is not None and not compare(outputs, self._judgements[name].logits, "").holds:
                found[name] = self._first_wrong_layer(self._files[name], pool)
        return found

    def _first_wrong_layer(self, files: Files, pool: SideBySide) -> str:
        layers = files.example.model.layers
        first_with_weights = next(i for i, layer in enumerate(layers) if isinstance(layer, Linear | Conv2d))
        beginnings = [
            write(first_layers(files.example, count), self._new_folder())
            for count in range(first_with_weights + 1, len(layers) + 1)
        ]
        futures = [
            pool.submit(recording.record, beginning, self._new_folder(), train=False) for beginning in beginnings
        ]
        for count, (beginning, future) in enumerate(zip(beginnings, futures, strict=True), first_with_weights + 1):
            outputs, expected = future.result().arrays.get("outputs"), judged(beginning).logits
            if outputs is None or not compare(outputs, expected, "").holds:
                layer = f"layers[{count - 1}], {describe_layer(layers[count - 1])}"
                if outputs is not None and compare(np.sort(outputs), in_order(expected), "").holds:
                    return f"flatten has to keep the order channels, height, width: after {layer} it does not"
                return f"the first wrong layer is {layer}"
        return "each layer is right when the model ends there"

    def _new_folder(self) -> Path:
        """A path that nobody has; whoever gets it makes it."""
        self._count += 1
        return self._folder / f"{self._count:04d}"


class SideBySide:
    """Runs functions of a target at the same time, each on a core of its own."""

    def __init__(self, target: Target, cores: Sequence[int]) -> None:
        """Use these cores."""
        self._target = target
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for core in cores:
            self._free.put(core)
        self._pool = ThreadPoolExecutor(len(cores))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for all of them."""
        self._pool.shutdown()

    def submit(
        self,
        function: Callable[Concatenate[Target, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Call the function as soon as a core is free, with the target on that core as its first argument."""

        def on_one_core() -> Result:
            core = self._free.get()
            try:
                return function(replace(self._target, processors=(core,)), *args, **kwargs)
            finally:
                self._free.put(core)

        return self._pool.submit(on_one_core)


def in_order(expected: Expectation) -> Expectation:
    """Forget which value stands where in a sample."""
    return Expectation(np.sort(expected.values), expected.tolerance)


def judged(files: Files) -> Judgement:
    """What the reference makes of an example, and how far off float32 may be."""
    return judge(files.case, BUDGET_OF_THE_JUDGE)
