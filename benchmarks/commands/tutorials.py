"""The tutorials that lockstep comes from: each is run in full in every framework, and put beside what it reports."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.hosting.environments import Interpreters
from benchmarks.commands.bench import bench
from benchmarks.errors import DataError, InputError
from benchmarks.machine.description import gpu_names
from benchmarks.session.options import Options
from benchmarks.session.request import Selection
from benchmarks.spec import experiment as experiments

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from benchmarks.cell.materials import Start

PAGE = "tutorials.md"
"""File of the table in the results folder."""

MODES = ("eager", "graph", "jit")
"""How the tutorials run PyTorch, MindSpore and JAX."""

JUDGE_BUDGET = 200.0
"""Seconds of processor time that the reference may train for each tutorial: more than in a bench, which only wants to
know enough."""

LOG_EVERY = 100
"""Batches between two lines of progress, as in the tutorials."""

MOVED = "weights moved by one unit in the last place"
MOVED_COPIES = 2
"""Trainings from such weights, where the reference could not follow to the end."""


Reached = Callable[["pd.Series", "pd.DataFrame"], str]


@dataclass(frozen=True)
class Tutorial:
    """A tutorial's experiment, what the tutorial reports, and how the same is told of a run."""

    experiments: tuple[str, ...]
    """The first of them whose data is there is run."""
    title: str
    says: str
    reached: Reached
    """From a run's row and its epochs."""
    remedy: str = ""
    """Another way to get the data than what is said where they are missing."""


def final_accuracy(run: pd.Series, epochs: pd.DataFrame) -> str:
    """Test accuracy and average test loss after the last epoch."""
    return f"{run['test_accuracy']:.2%}, loss {run['test_loss']:.4f}"


def best_accuracy(run: pd.Series, epochs: pd.DataFrame) -> str:
    """The same, and the highest test accuracy after any epoch."""
    accuracies = epochs.set_index("epoch")["test_accuracy"]
    return f"{accuracies.max():.2%} after epoch {accuracies.idxmax()}; last {final_accuracy(run, epochs)}"


def over_fitting(run: pd.Series, epochs: pd.DataFrame) -> str:
    """Where the validation loss was lowest, and what became of it and of the training loss until the end."""
    by_epoch = epochs.set_index("epoch")
    losses, training = by_epoch["validation_loss"], by_epoch["train_loss"]
    lowest, last, best = int(losses.argmin()), len(losses) - 1, int(run["best_epoch"])
    return (
        f"validation loss {losses[lowest]:.3f} after epoch {lowest}, {losses[last]:.3f} at the end, training loss "
        f"{training[lowest]:.3f} and {training[last]:.3f}; best validation accuracy "
        f"{by_epoch['validation_accuracy'][best]:.1%} after epoch {best}"
    )


def half_losses(run: pd.Series, epochs: pd.DataFrame) -> str:
    """Test loss with the factor 1/2 after each epoch, and the errors of what was learned."""
    losses = ", ".join(f"{loss / 2:.2g}" for loss in epochs["test_loss"].iloc[1:])
    return f"loss {losses}; {_line(run)}"


def squared_losses(run: pd.Series, epochs: pd.DataFrame) -> str:
    """The same without that factor."""
    losses = ", ".join(f"{loss:.2g}" for loss in epochs["test_loss"].iloc[1:])
    return f"loss {losses}; {_line(run)}"


def _line(run: pd.Series) -> str:
    return f"w off by {run['weight_error']:.1g}, b by {run['bias_error']:.1g}"


TUTORIALS = (
    Tutorial(
        ("fashion-mnist-mlp",),
        "Fashion-MNIST MLP",
        "63 % after 5 epochs",
        final_accuracy,
    ),
    Tutorial(
        ("linear-regression-from-scratch",),
        "Linear regression from scratch",
        "loss 0.036, 0.00013, 0.00005",
        half_losses,
    ),
    Tutorial(("linear-regression-concise",), "Linear regression, concise", "w and b found", squared_losses),
    Tutorial(("mnist-mlp",), "MNIST MLP", "at least 91 % after 3 epochs", final_accuracy),
    Tutorial(("mnist-mlp-deep",), "MNIST MLP, deeper", "loss curves of both", final_accuracy),
    Tutorial(
        ("cifar10-cnn", "cifar10-cnn-pictures"),
        "CIFAR-10 CNN",
        "at least 60 % at its best epoch of 10",
        best_accuracy,
        "; or unpack its pictures as $LOCKSTEP_DATA/cifar10-jpeg/train/CLASS and .../test/CLASS",
    ),
    Tutorial(("lenet5-mnist",), "LeNet-5 on MNIST", "99.05 % (LeCun et al., 1998)", best_accuracy),
    Tutorial(("pytorch-mnist",), "PyTorch's MNIST example", "99 %, with dropout", best_accuracy),
    Tutorial(("flax-mnist",), "Flax's NNX tutorial on MNIST", "around 99 %", final_accuracy),
    Tutorial(
        ("fashion-mnist-validation",),
        "Validation and over-fitting",
        "the best model is not the last",
        over_fitting,
    ),
)


@dataclass(frozen=True)
class Course:
    """Where tutorials are run: interpreters, as ``bench`` takes them, the results folder, where to tell."""

    pythons: dict[str, str]
    results: Path
    console: Console
    offline: bool = False
    """Whether to download nothing."""

    def run(self, names: Sequence[str], modes: Sequence[str]) -> int:
        """Run tutorials by the names of their experiments, or all; print and write the table; return the exit code."""
        known = [name for tutorial in TUTORIALS for name in tutorial.experiments]
        for name in names:
            if name not in known:
                raise InputError(f"tutorials {name}: there is none of this name; there are {', '.join(known)}")
        from results.store import Store

        chosen, missing = self._choose(names)
        before = set(Store(self.results).runs()["run"])
        codes = [self._train(list(chosen.values()), modes)] if chosen else []
        if gpu_names() and (on_gpu := [name for name in chosen.values() if name.startswith("cifar10")]):
            codes.append(self._train(on_gpu, modes, device="gpu"))
        runs = Store(self.results).runs()
        # Sessions of this call, with what they had from before if they were continued.
        sessions = runs.loc[~runs["run"].isin(before), "session"]
        self.tell(chosen, missing, runs[runs["session"].isin(sessions) & runs["excluded"].eq("")])
        return max([*codes, int(bool(missing))])

    def tell(self, chosen: dict[Tutorial, str], missing: dict[Tutorial, str], runs: pd.DataFrame) -> None:
        """Print and write the table of these runs, and what was not run."""
        from results import tables
        from results.store import Store

        good = runs[runs["status"].isin(["ok", "diverged"]) & runs["judged_steps"].notna()]
        chaos = {str(name): self._chaos(own) for name, own in good.groupby("experiment", sort=False)}
        lines = _table(chosen, runs, Store(self.results).epochs(), chaos)
        for tutorial, reason in missing.items():
            lines.append(f"- {tutorial.title} was not run: {reason}{tutorial.remedy}.")
        text = "\n".join(lines) + "\n"
        self.results.mkdir(parents=True, exist_ok=True)
        tables.write_text(text, self.results / PAGE)
        self.console.print(f"\n{text}", markup=False, highlight=False, soft_wrap=True)
        self.console.print(f"tutorials: {self.results / PAGE}", markup=False, highlight=False, soft_wrap=True)

    def _choose(self, names: Sequence[str]) -> tuple[dict[Tutorial, str], dict[Tutorial, str]]:
        """Return the experiment of each tutorial whose data can be prepared, and of the others the reason."""
        from benchmarks.cell.materials import prepare_data

        chosen: dict[Tutorial, str] = {}
        missing: dict[Tutorial, str] = {}
        interpreters = Interpreters(self.pythons, self.console.print, self.offline)
        for tutorial in TUTORIALS:
            asked = [name for name in tutorial.experiments if not names or name in names]
            reasons = []
            for name in asked:
                try:
                    path = experiments.find(name)
                    prepare_data(experiments.load(path), path.parent, interpreters)
                except DataError as error:
                    reasons.append(str(error))
                else:
                    chosen[tutorial] = name
                    break
            if len(reasons) == len(asked) > 0:
                missing[tutorial] = "; and ".join(reasons)
        return chosen, missing

    def _train(
        self,
        names: Sequence[str],
        modes: Sequence[str],
        device: str = "cpu",
        backends: Sequence[str] = (),
        start: Start | None = None,
    ) -> int:
        selection = Selection(names, backends, modes, device, start=start)
        # No timed windows: they would train on after the last epoch, which is more than a tutorial does.
        options = Options(
            repeats=1,
            turns=0,
            judge_budget=Options.judge_budget if start else JUDGE_BUDGET,
            peaks=False,
            log_every=LOG_EVERY,
            keep_models=True,
            offline=self.offline,
            command=shlex.join(["lockstep", *sys.argv[1:]]),
        )
        return bench(selection, options, self.pythons, self.results, self.console)

    def _chaos(self, runs: pd.DataFrame) -> str:
        """Say how far test accuracies may be apart although the work is equal.

        If the reference trained to the end, it says so itself. Else the fastest framework is trained again, from
        weights that are moved by one unit in the last place: what becomes of that is nobody's fault.
        """
        import numpy as np

        from benchmarks.cell.materials import Start, draw_parameters
        from results.proof.judge import moved
        from results.record import judged_text
        from results.store import Store

        run = runs.sort_values("train_seconds").iloc[0]
        steps, judged = int(run["epochs"] * run["steps_per_epoch"]), int(run["judged_steps"])
        if judged == steps:
            (rung,) = (rung for rung in run["ladder"] if rung["name"] == "test accuracy")
            allowed = f", accuracy within {rung['tolerance']:.1%}" if rung["tolerance"] else ""
            return f"{judged_text(judged, steps)}{allowed}"
        experiment = experiments.load(experiments.find(run["experiment"]))
        drawn = draw_parameters(experiment)
        told = []
        for copy in range(MOVED_COPIES):
            start = Start(f"{MOVED}, copy {copy + 1}", moved(drawn, np.random.default_rng(copy)))
            self._train([run["experiment"]], [run["mode"]], run["device"], [run["backend"]], start)
            store = Store(self.results)
            told.append(in_words(final_accuracy, store.runs().iloc[-1], store.epochs()))
        again = "; ".join(told)
        return f"{judged_text(judged, steps)}; {run['backend']} itself from {MOVED}: {again}"


def _table(chosen: dict[Tutorial, str], runs: pd.DataFrame, epochs: pd.DataFrame, chaos: dict[str, str]) -> list[str]:
    """The lines of the table in Markdown, and what the runs have in common."""
    import pandas as pd

    from results import tables
    from results.record import threads_text

    if runs.empty:
        return []
    cells = list(dict.fromkeys(runs["backend"] + " " + runs["mode"]))
    rows = []
    for tutorial, name in chosen.items():
        for device, own in runs[runs["experiment"] == name].groupby("device", sort=False):
            by_cell = {f"{run['backend']} {run['mode']}": run for _, run in own.iterrows()}
            told = {cell: in_words(tutorial.reached, by_cell.get(cell), epochs) for cell in cells}
            title = tutorial.title if device == "cpu" else f"{tutorial.title} on {device}"
            agree = {"they agree within": _agreement(own), "equal work proved": chaos.get(name, "")}
            rows.append({"tutorial": title, "it reports": tutorial.says, **told, **agree})
    versions = " and ".join(dict.fromkeys(runs["framework"]))
    first, steps_per_epoch = runs.iloc[0], runs.groupby("experiment", sort=False)["steps_per_epoch"].first()
    common = (
        f"Seed {', '.join(map(str, sorted(set(runs['seed']))))}; {threads_text(first['threads_asked'])} of "
        f"{first['machine']['cpu']}; {versions}. Iterations per epoch: "
        + ", ".join(f"{name} {steps:,}" for name, steps in steps_per_epoch.items())
        + "."
    )
    return [tables.markdown(pd.DataFrame(rows)), "", common, ""]


def in_words(reached: Reached, run: Any, epochs: pd.DataFrame) -> str:
    """What a run reached in a tutorial's terms, or what became of it; ``run`` is its row, None if there is none."""
    if run is None:
        return "-"
    own = epochs[(epochs["run"] == run["run"]) & epochs["test_loss"].notna()]
    if run["status"] == "diverged" and len(own) > 1:
        return f"{reached(run, own)}; then diverged: {run['reason']}"
    return reached(run, own) if run["status"] == "ok" else f"{run['status']}: {run['reason']}"


def _agreement(runs: pd.DataFrame) -> str:
    """The largest difference between the final figures of any two of the runs."""
    good = runs[runs["status"].isin(["ok", "diverged"])]
    if len(good) < 2:
        return "-"
    loss = good["test_loss"].max() - good["test_loss"].min()
    if good["test_accuracy"].isna().all():
        return f"loss {loss:.1g}"
    accuracy = good["test_accuracy"].max() - good["test_accuracy"].min()
    return f"loss {loss:.1g}, accuracy {accuracy * 100:.2f} points"
