"""The command line of lockstep."""

from __future__ import annotations

import keyword
import logging
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from backends import environments
from backends.contract import Precision
from backends.environments import BackendFileError, EnvironmentFailed, Interpreters
from benchmarks import bench, machine, predicting, signals, tutorials
from benchmarks import experiment as experiments
from benchmarks.data import DataError
from benchmarks.errors import InputError
from benchmarks.kept_models import find_model
from benchmarks.materials import Start
from benchmarks.session import REPEATS, Options
from results import report, tables, terminal
from results.recovery import recover
from results.report import differences, pictures
from results.statistics import BASELINE
from results.store import DamagedStoreError, Store, StoreError

BAD_INPUT = 2
SHOWN_CLASSES = 10
RESULTS = Path(environments.__file__).parents[1] / "results" / "out"

app = typer.Typer(
    help="Trains the same model on PyTorch, MindSpore and JAX and compares them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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


Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Folder of the store, the tables and the logs.")
]

Pythons = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATH",
        help="Interpreter of a backend instead of an environment of its own; 'current' is the running one.",
    ),
]


@app.command()
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
        list[str] | None, typer.Option(metavar="MODE", help="Mode of a backend; repeatable; default: all.")
    ] = None,
    device: Annotated[
        Literal["cpu", "gpu", "auto"], typer.Option(help="auto is the GPU where a backend finds one.")
    ] = "auto",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set; default: the experiment's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per step; default: the experiment's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches; default: the experiment's.")] = None,
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="Rounds; every cell runs once in each, in a fresh process.")
    ] = REPEATS,
    until: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            parser=_share,
            help="Add rounds until every interval is at most this wide, such as 2%, or the budget is spent.",
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="With --until: add no round after so long.")
    ] = 30.0,
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
        typer.Option(metavar="BACKEND MODE", help="What ratios are taken against, where it is among the cells."),
    ] = BASELINE,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processors for every framework; default: physical cores, less one.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of products; tf32 where a framework has it on its device.")
    ] = "float32",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, where the same command would continue an interrupted session.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run and how long it would take; run and write nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one run may work.")] = 3600.0,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Keep the weights after the last epoch, and after the best on validation."),
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Start from weights that a run kept: RUN, RUN:last or a file."),
    ] = None,
    log_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="BATCHES", help="Also print the loss every so many batches, and every epoch."),
    ] = None,
    python: Pythons = None,
    results: Results = RESULTS,
) -> None:
    """Run experiments on the frameworks, and add one row per run to the results table.

    Exit code: 0 if every planned run is ok or unavailable, 1 if any failed, 2 for bad input, 3 if nothing was selected.
    """
    overrides = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    selection = bench.Selection(
        experiments=names or (),
        backends=backend or (),
        modes=mode or (),
        device=device,
        threads=threads,
        precision=precision,
        overrides={key: value for key, value in overrides.items() if value is not None},
        sweeps=sweep or (),
        start=_start(from_, results) if from_ else None,
    )
    options = Options(
        repeats,
        timeout,
        baseline=baseline,
        until=until,
        budget=budget * 60,
        target_accuracy=target_accuracy,
        command=shlex.join(["lockstep", *sys.argv[1:]]),
        keep_models=keep_models,
        log_every=log_every,
        fresh=fresh,
    )
    pythons = pythons_given(python or [], backend or [])
    raise typer.Exit(bench.bench(selection, options, pythons, results, Console(), dry_run))


def _start(run: str, results: Path) -> Start:
    model = find_model(run, results)
    return Start(model.label, model.parameters)


@app.command()
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
    device: Annotated[
        Literal["cpu", "gpu", "auto"], typer.Option(help="auto is the GPU where the backend finds one.")
    ] = "auto",
    python: Pythons = None,
    results: Results = RESULTS,
) -> None:
    """Use a model that a run kept, in any framework: say what is in pictures, or score the test set."""
    if bool(pictures) == bool(data):
        raise InputError("predict: give pictures, or --data test" + (", not both" if data else ""))
    model = find_model(run, results)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    trained_by = model.trained_by.split()[0]
    # A file may claim anything, so it does not get to name code that is run.
    if not backend and trained_by not in environments.names():
        raise InputError(f"predict: {model.label} was trained by {trained_by}; add --backend to say who is to load it")
    chosen = environments.find(backend or trained_by)
    if mode and mode not in chosen.modes:
        raise InputError(f"--mode {mode}: {chosen.name} has {', '.join(chosen.modes)}")
    interpreters = Interpreters(pythons_given(python or [], [backend] if backend else []), console.print)
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
            changes = f" ({', '.join(picture.changes)})" if picture.changes else ""
            console.print(f"{picture.picture}{changes}")
            for name, probability in list(picture.probabilities.items())[:SHOWN_CLASSES]:
                console.print(f"  {probability:7.2%}  {name}")


@app.command("tutorials")
def tutorials_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="Experiments of tutorials; default: all.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(metavar="MODE", help="Mode of a backend; repeatable; default: as the tutorials do it."),
    ] = None,
    python: Pythons = None,
    results: Results = RESULTS,
) -> None:
    """Run the tutorials in full, and put what they report beside what each framework reached.

    Exit code: 0 if all were run and all is ok, 1 if data is missing or a run failed, 2 for bad input.
    """
    pythons = pythons_given(python or [], [])
    raise typer.Exit(tutorials.run_tutorials(names or (), mode or tutorials.MODES, pythons, results, Console()))


@app.command("list")
def list_() -> None:
    """List experiments, backends with their modes and environments, and devices; imports no framework."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print("experiments:")
    width = max(map(len, experiments.names()))
    for name in experiments.names():
        experiment = experiments.load(experiments.find(name))
        mark = "" if experiment.default else " (not in the default set)"
        console.print(f"  {name:{width}} {experiment.description}{mark}")
    console.print("backends:")
    interpreters = Interpreters({}, console.print)
    for name in environments.names():
        backend = environments.find(name)
        given = interpreters.given(backend)
        made = "made" if environments.is_ready(backend) else "not made yet"
        console.print(f"  {name:22} environment: {given or made}; devices: {', '.join(backend.devices)}")
        for mode, description in backend.modes.items():
            console.print(f"    {mode:20} {description}")
    console.print("devices:")
    cores = len(machine.physical_cores())
    console.print(f"  cpu                    {machine.cpu_name()}, {cores} physical cores")
    for gpu in machine.gpu_names():
        console.print(f"  gpu                    {gpu}")


@app.command()
def table(
    format_: Annotated[
        Literal["csv", "json", "markdown", "parquet"] | None,
        typer.Option(
            "--format",
            help="Every column as CSV, JSON or Parquet, the main ones as Markdown; default: a terminal table.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file instead of the terminal.")
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print the newest session, one row per cell with its verdict, as Markdown."),
    ] = False,
    results: Results = RESULTS,
) -> None:
    """Show the results table, one row per run."""
    store = Store(results)
    if store.runs().empty:
        raise InputError(f"{results}: no results there yet; 'lockstep run' makes some, --results names another folder")
    if markdown:
        newest = report.read(results)
        sys.stdout.write(tables.summary_markdown(newest.runs, newest.windows))
        return
    runs = tables.runs_table(store)
    if output:
        tables.write(runs, format_ or "csv", output)
    elif format_ == "parquet":
        raise InputError("--format parquet: it is not text; add --output FILE")
    elif format_:
        sys.stdout.write(tables.text(runs, format_))
    else:
        terminal.print_runs(runs, Console())


@app.command()
def runs(results: Results = RESULTS) -> None:
    """List the sessions of a results folder: their names, how their runs ended, and what was typed."""
    terminal.print_sessions(report.every_run(results), Console())


@app.command()
def log(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, as in 'lockstep table --format csv'.")],
    results: Results = RESULTS,
) -> None:
    """Show the log of a run: what its process printed, the framework's messages among it."""
    name = str(_found(results, "log", run)["log"])
    path = report.log_path(results, name)
    if path is None:
        raise InputError(f"log {run}: No such file in {results / 'logs'}: {name}")
    sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))


@app.command()
def retire(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, as in 'lockstep table --format csv'.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, which tables and reports give.")],
    results: Results = RESULTS,
) -> None:
    """Leave a run out of tables and ratios from now on; its row stays in the store, with the reason."""
    if not why.strip():
        raise InputError(f"retire {run}: --why is empty; say what was wrong with it")
    if reason := _found(results, "retire", run)["retired"]:
        raise InputError(f"retire {run}: it is retired already: {reason}")
    Store(results).retire([run], why.strip())
    print(f"{run} is retired; 'lockstep report' writes the report without it")


def _found(results: Path, command: str, run: str) -> dict[str, Any]:
    """The row of a run; raises InputError if there is none."""
    runs = report.every_run(results)
    rows = runs[runs["run"] == run].to_dict("records")
    if not rows:
        raise InputError(f"{command} {run}: no such run in {results}; the newest are {', '.join(runs['run'][-3:])}")
    return {str(name): value for name, value in rows[0].items()}


Sessions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Session, as in 'lockstep runs'; repeatable; default: the newest."),
]


@app.command("report")
def report_(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR [DIR]]", help="Results folder; two of them are put side by side."),
    ] = None,
    session: Sessions = None,
    baseline: Annotated[
        tuple[str, str], typer.Option(metavar="BACKEND MODE", help="What ratios are taken against at first.")
    ] = BASELINE,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: report.html in the folder, differences.html in the second of two."),
    ] = None,
) -> None:
    """Write the report: one HTML page that needs no network."""
    given = folders or [RESULTS]
    if len(given) > 2:
        raise InputError(f"report: {len(given)} folders; one makes a report, two are put side by side")
    if len(given) == 2 and session:
        raise InputError("report: --session picks from one folder; two folders are compared by their newest sessions")
    read = [report.read(folder, session or ()) for folder in given]
    path = output or given[-1] / (report.PAGE if len(given) == 1 else "differences.html")
    if len(given) == 1:
        report.write(read[0], path, baseline)
    else:
        differences.write(read[0], read[1], path)
    print(f"report: {path}")


@app.command()
def plot(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHART|EXPERIMENT]...",
            help="Charts such as throughput, default: all; experiments are put together into one picture per chart.",
        ),
    ] = None,
    format_: Annotated[Literal["svg", "png"], typer.Option("--format", help="Vector or pixel graphics.")] = "svg",
    session: Sessions = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the pictures; default: plots in the results folder.")
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Draw the report's charts as pictures, one file for each chart and comparison."""
    charts = [name for name in names or () if name in pictures.NAMES]
    chosen = [name for name in names or () if name not in pictures.NAMES]
    folder = output or results / "plots"
    if chosen:
        found = _experiments(results, chosen, session or ())
        drawn = pictures.draw_together(found, folder, format_, charts)
    else:
        drawn = pictures.draw(report.read(results, session or ()), folder, format_, charts)
    for path in drawn:
        print(path)
    if chosen:
        titles = found.runs["panel"].map(dict(enumerate(found.titles)))
        terminal.print_experiments(found.runs.assign(title=titles), Console())


def _experiments(results: Path, names: list[str], sessions: Sequence[str]) -> report.Results:
    try:
        return report.read_experiments(results, names, sessions)
    except StoreError as error:
        raise InputError(f"plot: {error}; the charts are {', '.join(pictures.NAMES)}") from None


@app.command()
def schema() -> None:
    """Print the JSON Schema of an experiment file, which editors use to complete and check it."""
    sys.stdout.write(experiments.json_schema())


@app.command("new-backend")
def new_backend(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the backend, a Python identifier.")],
) -> None:
    """Write NAME.py into this folder: a backend's file, with a message in every method that says what to write."""
    path = Path(f"{name}.py")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"new-backend {name}: the name has to be a Python identifier, such as my_framework")
    if path.exists() or name in environments.names():
        raise InputError(f"new-backend {name}: there is a {path} already; take another name")
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "NewBackend"
    path.write_text((environments.FOLDER / "skeleton.txt").read_text().replace("CLASS_NAME", class_name))
    print(f"{path} written; now make 'nox -s check -- {path.absolute()}' pass (see {environments.FOLDER}/README.md)")


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("lockstep").setLevel(logging.INFO)
    signals.install()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except typer.TyperException as error:
        code = _fail(error.format_message(), BAD_INPUT)
    except DamagedStoreError as error:
        code = _recover(error)
    except (InputError, DataError, BackendFileError, StoreError) as error:
        code = _fail(str(error), BAD_INPUT)
    except EnvironmentFailed as error:
        code = _fail(str(error), bench.SOME_FAILED)
    except OSError as error:
        code = _fail(f"{error.filename or 'writing'}: {error.strerror or error}", bench.SOME_FAILED)
    except signals.Interrupted as signal:
        code = _fail(f"stopped by {signal}; what had finished is kept, and the same command goes on", signal.exit_code)
    sys.exit(code)


def _recover(error: DamagedStoreError) -> int:
    """Keep what can be read of a store that was found damaged, and say what became of it."""
    try:
        outcome = recover(error.path)
    except StoreError as failure:
        return _fail(str(failure), bench.SOME_FAILED)
    return _fail(f"{error}; {outcome}; the same command goes on from there", bench.SOME_FAILED)


def _fail(message: str, code: int) -> int:
    print(f"lockstep: {' '.join(message.split())}", file=sys.stderr)
    return code


def pythons_given(entries: list[str], backends: list[str]) -> dict[str, str]:
    """Return the interpreters of --python NAME=PATH by name; raises InputError if one is not written so."""
    known = [*environments.names(), *(Path(name).stem for name in backends if name.endswith(".py"))]
    pythons = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not equals or not path or name not in known:
            raise InputError(f"--python {entry}: write NAME=PATH, with NAME one of {', '.join(known)}")
        if path != "current" and shutil.which(path) is None:
            raise InputError(f"--python {entry}: {path!r} is no executable file; give a path, or 'current'")
        pythons[name] = path
    return pythons
