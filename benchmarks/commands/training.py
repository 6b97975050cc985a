"""The commands that train models and use them: run, predict, tutorials."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backends.contract import Precision
from backends.hosting import environments
from backends.hosting.environments import Interpreters
from benchmarks.commands.options import Device, Offline, Pythons, Results, pythons_given
from benchmarks.errors import InputError
from benchmarks.session.options import BUDGET, BUDGET_UNTIL, LEAST_ROUNDS, Options
from benchmarks.session.pasting import RESULTS
from results.baseline import BASELINE

if TYPE_CHECKING:
    from benchmarks.cell.materials import Start

SHOWN_CLASSES = 10


def _share(text: str) -> float:
    """Read "2%" or "0.02"."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise typer.BadParameter(f"{text!r} is no share; write one such as 2% or 0.02")
    return share


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXPERIMENT]...",
            help="Names from 'lockstep list' or paths of TOML files; default: the default set.",
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Backend by name, or by the path of its file, which is code that runs with your rights; repeatable; "
            "default: all.",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODE",
            help="Mode of a backend; repeatable; default: all that no other mode of theirs beats everywhere.",
        ),
    ] = None,
    device: Device = "auto",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set; default: the experiment's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per step; default: the experiment's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches; default: the experiment's.")] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Rounds; every configuration runs once in each, in a fresh process; default: what the budget allows, "
            f"{LEAST_ROUNDS} at least.",
        ),
    ] = None,
    until: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            parser=_share,
            help="Add rounds only until every interval is at most this wide, such as 2%.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MINUTES",
            help=f"Time for measuring; default: {BUDGET}, with --until 30. With --repeats, none is needed.",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Run at every value of a key of the experiment, such as batch_size or sgd.momentum, or of threads; "
            "repeatable, for the cross product.",
        ),
    ] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Also tell the seconds of training until this test accuracy was reached."),
    ] = None,
    baseline: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="BACKEND MODE", help="What ratios are taken against, where it is among the configurations."
        ),
    ] = BASELINE,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processors for every framework; default: physical cores, less one.")
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            help="Replicas of the model that share every batch (data parallel); --sweep replicas=1,2 shows how it "
            "scales; default: the experiment's."
        ),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of products; tf32 where a framework has it on its device.")
    ] = "float32",
    stock: Annotated[
        bool,
        typer.Option("--stock", help="Without the tuning that an ordinary user does not have (benchmarks/TUNING.md)."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, where the same command would continue an interrupted session.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be run and how long it would take; run nothing, write no results."
        ),
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one run may work.")] = 3600.0,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Keep the weights after the last epoch, and after the best on validation."),
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Start from weights that a run kept (RUN, RUN:last or a file); the optimizer begins anew.",
        ),
    ] = None,
    log_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="BATCHES", help="Also print the loss every so many batches, and every epoch."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on the machines of a Dask cluster: a scheduler's address or file, or local:2, which starts one.",
        ),
    ] = None,
    python: Pythons = None,
    offline: Offline = False,
    results: Results = RESULTS,
) -> None:
    """Run experiments on the frameworks, and add one row per run to the results table.

    Exit code: 0 if every run is ok or unavailable, 1 if any is not, 2 for bad input, 3 if nothing was selected, 130
    after Ctrl-C, 143 after SIGTERM.
    """
    from rich.console import Console

    from benchmarks.commands.bench import bench
    from benchmarks.session.request import Selection

    overrides = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "replicas": replicas}
    selection = Selection(
        experiments=names or (),
        backends=backend or (),
        modes=mode or (),
        device=device,
        threads=threads,
        precision=precision,
        stock=stock,
        overrides={key: value for key, value in overrides.items() if value is not None},
        sweeps=sweep or (),
        start=_start(from_, results) if from_ else None,
    )
    options = Options(
        repeats or LEAST_ROUNDS,
        timeout,
        baseline=baseline,
        until=until,
        budget=_seconds(repeats, until, budget),
        target_accuracy=target_accuracy,
        command=shlex.join(["lockstep", *sys.argv[1:]]),
        keep_models=keep_models,
        log_every=log_every,
        fresh=fresh,
        offline=offline,
    )
    pythons = pythons_given(python or [], backend or [])
    raise typer.Exit(bench(selection, options, pythons, results, Console(), dry_run, cluster))


def _seconds(repeats: int | None, until: float | None, budget: float | None) -> float | None:
    """What may be spent on rounds beyond the planned ones; None if a number of rounds is all that was asked for."""
    if budget is None and repeats is not None and until is None:
        return None
    return 60 * (budget if budget is not None else BUDGET if until is None else BUDGET_UNTIL)


def _start(run: str, results: Path) -> Start:
    from benchmarks.cell.kept_models import find_model
    from benchmarks.cell.materials import Start

    model = find_model(run, results)
    return Start(model.label, model.parameters)


def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run that kept models: RUN, RUN:best, RUN:last, or a model's file.")
    ],
    pictures: Annotated[list[Path] | None, typer.Argument(metavar="[PICTURE]...", help="Picture files.")] = None,
    data: Annotated[Literal["test"] | None, typer.Option(help="Score the whole test set instead.")] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which backend loads it; default: the one that trained it.")
    ] = None,
    mode: Annotated[str | None, typer.Option(metavar="MODE", help="Default: the backend's first one.")] = None,
    device: Device = "auto",
    python: Pythons = None,
    offline: Offline = False,
    results: Results = RESULTS,
) -> None:
    """Use a model that a run kept, in any framework: say what is in pictures, or score the test set."""
    if bool(pictures) == bool(data):
        raise InputError("predict: give pictures, or --data test" + (", not both" if data else ""))
    from rich.console import Console

    from benchmarks.cell import predicting
    from benchmarks.cell.kept_models import find_model

    model = find_model(run, results)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    trained_by = model.trained_by.split()[0]
    # A file may claim anything, so it does not get to name code that is run.
    if not backend and trained_by not in environments.names():
        raise InputError(f"predict: {model.label} was trained by {trained_by}; add --backend to say who is to load it")
    chosen = environments.find(backend or trained_by)
    if mode and mode not in chosen.modes:
        raise InputError(f"--mode {mode}: {chosen.name} has {', '.join(chosen.modes)}")
    pythons = pythons_given(python or [], [backend] if backend else [])
    interpreters = Interpreters(pythons, console.print, offline)
    predictor = predicting.Predictor(model, chosen, mode or next(iter(chosen.modes)), device, interpreters)
    shown = f"{model.name}, {model.label}, trained by {model.trained_by}, on {chosen.name} {predictor.mode}"
    if data:
        score = predicting.score_test_set(predictor)
        accuracy = "" if score.accuracy is None else f", test accuracy {score.accuracy:.2%}"
        console.print(f"{shown}: test loss {score.loss:.6g}{accuracy}")
    else:
        seen = predicting.see(predictor, pictures or [])
        console.print(f"{shown}:")
        for picture in seen:
            changes = f" ({', '.join(map(str, picture.changes))})" if picture.changes else ""
            console.print(f"{picture.picture}{changes}")
            for name, probability in list(picture.probabilities.items())[:SHOWN_CLASSES]:
                console.print(f"  {probability:7.2%}  {name}")


def tutorials(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="Experiments of tutorials; default: all.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(metavar="MODE", help="Mode of a backend; repeatable; default: as the tutorials do it."),
    ] = None,
    python: Pythons = None,
    offline: Offline = False,
    results: Results = RESULTS,
) -> None:
    """Run the tutorials in full, and put what they report beside what each framework reached.

    Exit code: 0 if all were run and all is ok, 1 if data is missing or a run failed, 2 for bad input.
    """
    from rich.console import Console

    from benchmarks.commands.tutorials import MODES, Course

    pythons = pythons_given(python or [], [])
    raise typer.Exit(Course(pythons, results, Console(), offline).run(names or (), mode or MODES))
