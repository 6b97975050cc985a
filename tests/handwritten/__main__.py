"""The command behind ``nox -s overhead``: what does lockstep cost against a loop without a harness?

Each mode of lockstep takes turns with the loop that an expert would write for the same mode, and with the loop of the
framework's beginners' tutorial where the model is as small as there (MLP, CNN). Prints the ratios of the throughputs
with intervals. Ends with 1 if lockstep is slower than an expert's loop (ratio below 0.98, of LeNet-5 and ResNet-20
below 0.97, or its interval below 1), or if the fastest mode of PyTorch or MindSpore is not twice as fast as the
tutorial's loop; with 2 for bad input. With ``--through-dask`` each mode takes turns with itself below a Dask worker
instead, as a cluster has it, which has to be as fast.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from backends.hosting import environments
from backends.hosting.environments import EnvironmentFailed, Interpreters
from benchmarks.cell.materials import Materials, draw, prepare_data
from benchmarks.cell.timing import LONGEST_CALL
from benchmarks.errors import InputError
from benchmarks.machine.processors import default_threads, processors_for
from benchmarks.spec import experiment as experiments
from benchmarks.worker.process import WorkerError
from results.statistics import CONFIDENCE, Ratio, ratio
from tests.handwritten.contest import Contestant, Loop, LoopFailed, Setting, Worker, rates

if TYPE_CHECKING:
    from tests.handwritten import through_dask

EXPERIMENTS = {"mlp": "generated-mlp", "cnn": "digits-cnn", "lenet": "lenet5-mnist", "resnet": "resnet20-cifar10"}
TUTORIALS = ("mlp", "cnn")
"""The models of the tutorials' loops."""

INSTEAD: dict[str, dict[str, Any]] = {
    "lenet5-mnist": {"data": {"name": "generated-images", "shape": [1, 28, 28], "samples": 8000}},
    "resnet20-cifar10": {"data": {"name": "generated-images", "shape": [3, 32, 32], "samples": 8000}, "batch_size": 64},
}
"""What replaces an experiment's keys: pictures of the same shape, where those of the data set had to be downloaded."""

FRAMEWORKS = ("pytorch", "jax", "mindspore")
TWICE_THE_TUTORIAL = ("pytorch", "mindspore")
"""Frameworks whose tutorials load sample by sample; JAX has no such loop of its own."""

LEAST_OF_EXPERT = {"mlp": 0.98, "cnn": 0.98, "lenet": 0.97, "resnet": 0.97}
LEAST_OF_TUTORIAL = 2.0

STEPS_OF_A_CALL = {"mlp": 10, "lenet": 10, "resnet": 2}
"""Fewer than a bench begins with, which shortens its calls to windows of a tenth of a second as well.

ResNet's 50 would take half a minute, and rounding grows to a thousandth by step three.
"""

STEPS_OF_A_TUTORIAL = 5
"""Steps of a call of its loop, which takes up to a tenth of a second for each of them."""

TURNS = 40
"""Twice as many as in a bench: adjacent windows differ by a sixth on a busy machine, and a percent is to be told."""

SAME_LOSS = 1e-4
"""Relative, after one call from the same weights with the same batches; rounding made 1.1e-7 at most, in any mode."""

MOST, NARROW = 5, 0.04
"""Up to so many times the rounds are run for a mode whose ratio has an interval that is wider than this."""


@dataclass(frozen=True)
class Comparison:
    """One mode of lockstep against one loop, in one framework and model."""

    framework: str
    model: str
    mode: str
    opponent: str
    lockstep: float
    """Samples per second, the median over all turns; so is ``other``."""
    other: float
    ratio: Ratio

    @property
    def within_bounds(self) -> bool:
        """Whether lockstep is as fast as it has to be, and as fast below a Dask worker as here."""
        if self.opponent == "dask":
            return self.ratio.value <= 1 / LEAST_OF_EXPERT[self.model] and self.ratio.low <= 1.0
        if self.opponent == "tutorial":
            return self.ratio.value >= LEAST_OF_TUTORIAL
        return self.ratio.value >= LEAST_OF_EXPERT[self.model] and self.ratio.high >= 1.0

    @property
    def bound(self) -> str:
        """What the ratio has to be, in words of a table."""
        if self.opponent == "dask":
            return f"at most {1 / LEAST_OF_EXPERT[self.model]:.3f}"
        return f"at least {LEAST_OF_TUTORIAL if self.opponent == 'tutorial' else LEAST_OF_EXPERT[self.model]:.2f}"


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        processors_for(arguments.threads)
        comparisons = compare_all(arguments, console)
    except InputError as error:
        return fail(str(error), 2)
    except (EnvironmentFailed, WorkerError, LoopFailed) as error:
        return fail(str(error), 1)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    show(comparisons, console)
    judged = [*of_every_mode(comparisons), *best_against_tutorials(comparisons)]
    good = sum(comparison.within_bounds for comparison in judged)
    console.print(f"{good} of {len(judged)} within bounds")
    return 0 if good == len(judged) else 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.handwritten", description=__doc__)
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="rounds of fresh processes, more where they differ much: %(default)s",
    )
    parser.add_argument(
        "--turns",
        type=int,
        default=TURNS,
        help="windows of each process in a round: %(default)s, fewer where they take long",
    )
    parser.add_argument("--threads", type=int, default=default_threads(), help="threads of each process: %(default)s")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="on a GPU, experts' loops alone")
    parser.add_argument("--through-dask", action="store_true", help="compare with workers below a Dask worker")
    parser.add_argument("--models", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error(f"--rounds {arguments.rounds}: an interval needs at least 2")
    if arguments.turns < 1:
        parser.error(f"--turns {arguments.turns}: at least 1 is needed")
    return arguments


def compare_all(arguments: argparse.Namespace, console: Console) -> list[Comparison]:
    """Run all rounds of every framework and model."""
    interpreters = Interpreters({}, console.print)
    comparisons = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-overhead-")))
        cluster = _cluster(folder, stack) if arguments.through_dask else None
        for model in arguments.models:
            materials = make_materials(EXPERIMENTS[model], folder / model, interpreters)
            steps = STEPS_OF_A_CALL.get(model, min(LONGEST_CALL, materials.full_steps))
            for framework in arguments.frameworks:
                python = interpreters.path(environments.find(framework))
                own = folder / f"{framework}-{model}"
                setting = Setting(model, materials, python, arguments.threads, steps, own, arguments.device)
                comparisons += run_rounds(framework, setting, arguments, cluster, console)
    return comparisons


def _cluster(folder: Path, stack: ExitStack) -> through_dask.Cluster:
    from tests.handwritten import through_dask  # Dask is not everywhere

    return stack.enter_context(through_dask.started(folder))


def run_rounds(
    framework: str,
    setting: Setting,
    arguments: argparse.Namespace,
    cluster: through_dask.Cluster | None,
    console: Console,
) -> list[Comparison]:
    """Run the rounds of one framework and model, and then more with those modes whose intervals are still wide.

    Prints the ratios when it is done, and also those that there are when it is interrupted or a process fails.
    """
    random = np.random.default_rng()
    modes = list(environments.find(framework).modes)
    samples: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    number = 0
    while True:
        number += 1
        own = replace(setting, folder=setting.folder.with_name(f"{setting.folder.name}-{number}"))
        own.folder.mkdir()
        tutorial = number <= arguments.rounds and own.device == "cpu" and own.model in TUTORIALS
        try:
            with console.status(f"{framework} {setting.model}: round {number}, {', '.join(modes)}"):
                if cluster:
                    measured = run_through_dask(framework, modes, own, arguments.turns, random, cluster)
                else:
                    measured = run_round(framework, modes, tutorial, own, arguments.turns, random)
        except (KeyboardInterrupt, WorkerError, LoopFailed):
            tell(compare(framework, setting.model, samples), console)
            raise
        for name, rates_ in measured.items():
            samples[name].append(rates_ * setting.materials.experiment.batch_size)
        if number < arguments.rounds:
            continue
        found = compare(framework, setting.model, samples)
        modes = unsure(found)
        if not modes or number >= MOST * arguments.rounds:
            tell(found, console)
            return found


def tell(found: list[Comparison], console: Console) -> None:
    """Print the ratios of one framework and model."""
    for one in found:
        console.print(f"{one.model} {one.framework} {one.mode} / {one.opponent}: {written(one.ratio)}", markup=False)


def unsure(found: list[Comparison]) -> list[str]:
    """The modes whose ratios have an interval that is too wide to tell two percent."""
    return [one.mode for one in of_every_mode(found) if one.ratio.width > NARROW]


def make_materials(name: str, folder: Path, interpreters: Interpreters) -> Materials:
    """Prepare an experiment's data, weights and batches."""
    path = experiments.find(name)
    experiment = experiments.load(path, INSTEAD.get(name))
    return draw(name, experiment, prepare_data(experiment, path.parent, interpreters), folder)


def run_round(
    framework: str, modes: Sequence[str], tutorial: bool, setting: Setting, turns: int, random: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Start fresh processes, let them take turns, end them; returns steps per second ``[turns]`` by name."""
    backend = environments.find(framework)
    starts: list[Callable[[], Contestant]] = []
    for place, mode in enumerate(modes):
        own = replace(setting, place=place)
        starts.append(partial(Worker, own, backend, mode))
        starts.append(partial(Loop, own, f"{framework}_loops", mode))
    if tutorial:
        short = replace(setting, steps=STEPS_OF_A_TUTORIAL)
        starts.append(partial(Loop, short, f"tutorial_{framework}", "tutorial"))
    return take_turns(starts, setting, turns, random)


def run_through_dask(
    framework: str,
    modes: Sequence[str],
    setting: Setting,
    turns: int,
    random: np.random.Generator,
    cluster: through_dask.Cluster,
) -> dict[str, NDArray[np.float64]]:
    """The same for each mode here and below a Dask worker, which runs one at a time."""
    from tests.handwritten import through_dask

    backend = environments.find(framework)
    samples: dict[str, NDArray[np.float64]] = {}
    for mode in modes:
        remote = replace(setting, folder=setting.folder / "dask")
        starts: list[Callable[[], Contestant]] = [
            partial(Worker, setting, backend, mode),
            partial(through_dask.Remote, remote, backend, mode, cluster),
        ]
        samples |= take_turns(starts, setting, turns, random)
    return samples


def take_turns(
    starts: Sequence[Callable[[], Contestant]], setting: Setting, turns: int, random: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Start contestants, let them take turns, end them."""
    contestants: list[Contestant] = []
    with ExitStack() as stack:
        for start in starts:
            contestant = start()
            stack.callback(contestant.close)
            contestants.append(contestant)
        losses = []
        for contestant in contestants:
            losses.append(contestant.prepare())
            contestant.pause()
        check_same_work(contestants, losses)
        processors = processors_for(setting.threads)
        measured = rates(contestants, turns, processors, random)
    return {contestant.name: measured[:, index] for index, contestant in enumerate(contestants)}


def check_same_work(contestants: Sequence[Contestant], losses: Sequence[float]) -> None:
    """Compare the losses after the first call of those that are compared; raises LoopFailed where they differ."""
    for first in range(0, len(contestants) - 1, 2):
        (ours, loss), (theirs, other) = zip(contestants[first : first + 2], losses[first : first + 2], strict=True)
        if not math.isclose(loss, other, rel_tol=SAME_LOSS):
            raise LoopFailed(
                f"{theirs.name}: its loss after {theirs.steps} steps is {other:.6g}, that of {ours.name} {loss:.6g}; "
                "they have not done the same work"
            )


def compare(framework: str, model: str, samples: Mapping[str, Sequence[NDArray[np.float64]]]) -> list[Comparison]:
    """Compare each mode with what took turns with it; ``samples`` per second ``[turns]`` of each round.

    NaN are the turns that were not taken. Who has fewer rounds was there in the first ones.
    """
    comparisons = []
    for mode in environments.find(framework).modes:
        names = {
            "dask": f"dask {mode}",
            "expert": f"{framework}_loops {mode}",
            "tutorial": f"tutorial_{framework} tutorial",
        }
        for opponent, name in names.items():
            if name in samples:
                pairs = list(zip(samples[f"lockstep {mode}"], samples[name], strict=False))
                ours, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
                medians = float(np.nanmedian(ours)), float(np.nanmedian(theirs))
                found = ratio(np.log(ours / theirs))
                comparisons.append(Comparison(framework, model, mode, opponent, *medians, found))
    return comparisons


def of_every_mode(comparisons: list[Comparison]) -> list[Comparison]:
    """The comparisons where every mode has a bound: with experts' loops, and with itself below a Dask worker."""
    return [comparison for comparison in comparisons if comparison.opponent != "tutorial"]


def best_against_tutorials(comparisons: list[Comparison]) -> list[Comparison]:
    """For each framework and model, the fastest mode against the tutorial's loop, where that has to be slower."""
    best: dict[tuple[str, str], Comparison] = {}
    for comparison in comparisons:
        if comparison.opponent == "tutorial" and comparison.framework in TWICE_THE_TUTORIAL:
            cell = comparison.framework, comparison.model
            best[cell] = max(best.get(cell, comparison), comparison, key=lambda one: one.ratio.value)
    return list(best.values())


def show(comparisons: list[Comparison], console: Console) -> None:
    """Print a table per kind of loop."""
    judged = [*of_every_mode(comparisons), *best_against_tutorials(comparisons)]
    opponents = {
        "expert": "the loop that an expert would write",
        "tutorial": "the tutorial's loop",
        "dask": "itself below a Dask worker",
    }
    for opponent in dict.fromkeys(comparison.opponent for comparison in comparisons):
        table = Table(
            title=f"lockstep against {opponents[opponent]}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
        )
        for heading in ("model", "framework", "mode"):
            table.add_column(heading, no_wrap=True)
        for heading in ("lockstep/s", f"{opponent}/s", "ratio with interval", "bound", ""):
            table.add_column(heading, justify="right", no_wrap=True)
        for one in comparisons:
            if one.opponent == opponent:
                mark = "" if one not in judged else "ok" if one.within_bounds else "OUT OF BOUNDS"
                table.add_row(
                    one.model,
                    one.framework,
                    one.mode,
                    f"{one.lockstep:,.0f}",
                    f"{one.other:,.0f}",
                    written(one.ratio),
                    one.bound if one in judged else "",
                    mark,
                )
        console.print(table)
    console.print(
        "Samples per second of training, medians. A ratio is taken within each turn; "
        f"its interval ({CONFIDENCE:.0%}) is over rounds of fresh processes."
    )


def written(found: Ratio) -> str:
    """Three decimals, as 0.98 is to be told from 1."""
    interval = "one round has no interval" if math.isnan(found.low) else f"{found.low:.3f} to {found.high:.3f}"
    return f"{found.value:.3f} ({interval})"


def fail(message: str, code: int) -> int:
    """Print one line to stderr and return the code."""
    print(f"overhead: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
