"""The search: in which other ways do experts of a framework train such models, and is one of them faster?

Each file of variants here is a backend whose modes are those ways. Every variant takes turns with lockstep's own modes
of the framework, in workers as a bench has them: the same data, weights, batches, processor and clock. In each round
its process is a fresh one, which trains one experiment after the other. Prints a table in Markdown, with the
throughput of each variant as a ratio to that of the fastest mode of lockstep in the experiment, its interval, and the
processor seconds of its first call. What came out is in ``backends/SEARCH.md``.

A bench's clock is the parent's. Here it is by default the processor's, which tells the same of a process that has one
processor and never waits, and on a machine that others use it still tells percents.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from backends.hosting import environments
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.cell.materials import Materials
from benchmarks.cell.timing import LONGEST_CALL
from benchmarks.worker.process import WorkerError
from results.statistics import Ratio, ratio
from tests.handwritten.__main__ import FRAMEWORKS, SAME_LOSS, make_materials
from tests.handwritten.contest import LEAD_IN, WARM_UP, Setting, Worker

EXPERIMENTS = ("digits-mlp", "digits-cnn", "generated-mlp", "linear-regression")

THREADS = 1
CLOCKS = ("processor", "wall")

TOGETHER = 11
"""Variants that take turns at a time, with all modes: a machine that is shared changes while a turn lasts."""

ENOUGH_TIMED = 4.0
"""Seconds of windows of one variant, after which it takes no further turn: a call of a slow one may take seconds."""


@dataclass
class Found:
    """What was measured of one experiment."""

    rates: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    """Steps per second ``[turns, clocks]``, by name and then by group of a round; NaN for turns not taken."""
    first: dict[str, float] = field(default_factory=dict)
    """Processor seconds of the first call, in the first round that there is."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why a variant could not be measured."""

    def fastest(self, modes: Sequence[str], clock: int) -> str:
        """The mode that the variants are compared with."""
        return max(modes, key=lambda mode: np.nanmedian(np.concatenate(list(self.rates[mode].values()))[:, clock]))

    def against(self, name: str, mode: str, clock: int) -> Ratio:
        """The ratio of the throughputs of two that took turns."""
        own, other = self.rates[name], self.rates[mode]
        logs = np.full((len(own), max(map(len, own.values()))), np.nan)  # rounds may have had fewer turns
        for row, at in zip(logs, own, strict=True):
            row[: len(own[at])] = np.log(own[at][:, clock] / other[at][:, clock])
        return ratio(logs)


def main() -> None:
    """Measure what the command line asks for, and print the table after every round."""
    arguments = parse()
    variants = environments.read(Path(__file__).with_name(f"{arguments.framework}_variants.py"))
    backend = environments.find(arguments.framework)
    names = [name for name in arguments.variants or variants.modes if name not in backend.modes]
    interpreters = Interpreters({}, print)
    python = interpreters.path(backend)
    random = np.random.default_rng()
    found = restored(arguments.keep)
    with tempfile.TemporaryDirectory(prefix="lockstep-search-") as folder:
        materials = [make_materials(name, Path(folder) / name, interpreters) for name in arguments.experiments]
        for round_ in range(arguments.rounds):
            for number, group in enumerate(groups(names, random)):
                own = Path(folder) / f"{round_}-{number}"
                # Kept between processes, and so the first call would be one that finds what another has compiled.
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(own / "inductor")
                setting = Setting("", materials[0], python, THREADS, LONGEST_CALL, own)
                for _ in measure(setting, backend, variants, group, materials, found, arguments, random):
                    if arguments.keep:
                        keep(found, arguments.keep)
    print("\n".join(table(found, list(backend.modes), variants, CLOCKS.index(arguments.clock))), flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.handwritten.search", description=__doc__)
    parser.add_argument("--framework", required=True, choices=FRAMEWORKS)
    parser.add_argument("--experiments", nargs="+", default=EXPERIMENTS)
    parser.add_argument("--variants", nargs="+", help="these alone")
    parser.add_argument("--rounds", type=int, default=2, help="of fresh processes: %(default)s; 0: only the table")
    parser.add_argument("--turns", type=int, default=12, help="windows of each process: %(default)s")
    parser.add_argument("--window", type=float, default=0.15, help="its processor seconds, at least: %(default)s")
    parser.add_argument("--clock", choices=CLOCKS, default=CLOCKS[0], help="of the table: %(default)s")
    parser.add_argument("--keep", type=Path, help="a JSON file that earlier rounds are in, and these will be")
    return parser.parse_args()


def restored(path: Path | None) -> dict[str, Found]:
    """What ``keep`` has written, by experiment; nothing if there is no such file."""
    found: dict[str, Found] = defaultdict(Found)
    if path and path.exists():
        for experiment, values in json.loads(path.read_text()).items():
            rates = {
                name: {at: np.array(turns, float) for at, turns in groups.items()}
                for name, groups in values.pop("rates").items()
            }
            found[experiment] = Found(rates, **values)
    return found


def keep(found: dict[str, Found], path: Path) -> None:
    """Write all that was measured into a file."""
    path.write_text(json.dumps({name: asdict(one) for name, one in found.items()}, default=np.ndarray.tolist))


def groups(names: Sequence[str], random: np.random.Generator) -> list[list[str]]:
    """Part the variants at random into groups that take turns together."""
    number = math.ceil(len(names) / TOGETHER)
    return [list(part) for part in np.array_split(random.permutation(np.array(names)), number)]


def measure(
    setting: Setting,
    backend: BackendFile,
    variants: BackendFile,
    group: Sequence[str],
    materials: Sequence[Materials],
    found: dict[str, Found],
    arguments: argparse.Namespace,
    random: np.random.Generator,
) -> Iterator[None]:
    """Start fresh processes of the modes and of a group of variants, and have them train every experiment in turns.

    Yields after each experiment.
    """
    at = str(time.time_ns())
    contestants: dict[str, Contestant] = {}
    with ExitStack() as stack:
        for name in [*backend.modes, *group]:
            contestants[name] = Contestant(setting, variants if name in variants.modes else backend, name)
            stack.callback(contestants[name].close)
        for material in materials:
            one = found[material.name]
            ready = dict(begin(contestants, material, list(backend.modes), one))
            for name, measured in rates(ready, arguments.turns, arguments.window, random).items():
                one.rates.setdefault(name, {})[at] = measured
            print(f"{time.strftime('%H:%M:%S')} {material.name}: {', '.join(ready)}", flush=True)
            yield


class Contestant(Worker):
    """A worker that trains one experiment after the other, each in a new instance of its backend."""

    def begin(self, materials: Materials) -> float:
        """Load an experiment, and train one call, of as many steps as in a bench; return its last loss."""
        self.steps = min(LONGEST_CALL, materials.full_steps)
        return super().begin(materials)

    def start(self, materials: Materials) -> float:
        """The same, and import the framework before, unless that was done."""
        if not self._greeted:
            self._process.hello()
            self._greeted = True
        return self.begin(materials)

    def train(self, calls: int) -> float:
        """Train so many calls; return the processor seconds that this took, of all threads."""
        return self.timed(calls)[0]

    def timed(self, calls: int) -> tuple[float, float]:
        """The same, and the seconds by the parent's clock."""
        before = self._processor_seconds()
        seconds = super().train(calls)
        return self._processor_seconds() - before, seconds

    def _processor_seconds(self) -> float:
        """Of the process by its own fine clock, and of its children that have ended, such as compilers."""
        times = psutil.Process(self.pid).cpu_times()
        clock = ~self.pid << 3 | 2  # as clock_getcpuclockid(3) would say
        return time.clock_gettime(clock) + times.children_user + times.children_system

    _greeted = False


def begin(
    contestants: dict[str, Contestant], materials: Materials, modes: Sequence[str], found: Found
) -> Iterator[tuple[str, Contestant]]:
    """Have all train one call, and yield those that could and did the work of the first mode."""
    expected = math.nan
    for name, contestant in contestants.items():
        contestant.resume()
        try:
            loss = contestant.start(materials)
        except WorkerError as error:
            found.refused[name] = str(error)
            continue
        finally:
            contestant.pause()
        found.first.setdefault(name, contestant.first)
        if name == modes[0]:
            expected = loss
        if math.isclose(loss, expected, rel_tol=SAME_LOSS):
            yield name, contestant
        else:
            found.refused[name] = f"other work: its loss is {loss:.6g}, not {expected:.6g}"


def rates(
    contestants: dict[str, Contestant], turns: int, window: float, random: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Let them have a window each per turn, in a fresh random order: steps per second ``[turns, clocks]`` by name."""
    result = {name: np.full((turns, len(CLOCKS)), np.nan) for name in contestants}
    calls = {name: calls_of_a_window(one, window) for name, one in contestants.items()}
    timed = dict.fromkeys(contestants, 0.0)
    for turn in range(turns):
        for name in random.permutation(np.array(list(contestants))):
            if timed[name] > ENOUGH_TIMED:
                continue
            one = contestants[name]
            one.resume()
            if calls[name] > 1:
                one.train(math.ceil(calls[name] / LEAD_IN))
            seconds = one.timed(calls[name])
            one.pause()
            timed[name] += seconds[0]
            result[name][turn] = calls[name] * one.steps / np.array(seconds)
    return result


def calls_of_a_window(contestant: Contestant, window: float) -> int:
    """Find out how many calls take long enough, of one that is paused."""
    contestant.resume()
    calls = math.ceil(window / min(contestant.train(1) for _ in range(WARM_UP)))
    contestant.pause()
    return calls


def table(found: dict[str, Found], modes: Sequence[str], variants: BackendFile, clock: int) -> Iterator[str]:
    """The table in Markdown, by the line."""
    yield "| variant | what it is | " + " | ".join(found) + " |"
    yield "|---|---|" + "---|" * len(found)
    for name in dict.fromkeys((*modes, *variants.modes)):
        cells = [cell(one, name, modes, clock) for one in found.values()]
        yield f"| {name} | {variants.modes.get(name, 'a mode of lockstep')} | " + " | ".join(cells) + " |"


def cell(found: Found, name: str, modes: Sequence[str], clock: int) -> str:
    """The ratio of one variant with its interval, and the seconds of its first call; or why there is none."""
    if name not in found.rates:
        return found.refused.get(name, "not measured")[:120].replace("|", "/")
    first = f"{found.first[name]:.1f} s"
    fastest = found.fastest(modes, clock)
    if name == fastest:
        return f"**1**; {first}"
    one = found.against(name, fastest, clock)
    interval = "" if math.isnan(one.low) else f" ({one.low:.2f} to {one.high:.2f})"
    return f"{one.value:.3f}{interval}; {first}"


if __name__ == "__main__":
    main()
