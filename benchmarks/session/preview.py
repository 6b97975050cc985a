"""The plan of a bench that is not run: what would run, what is there already, and how long it would take."""

from __future__ import annotations

from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.cell.materials import check, prepare_data
from benchmarks.data import PreparedData
from benchmarks.data.prepare import find_prepared, left_to_train, to_download
from benchmarks.machine.description import describe_machine
from benchmarks.session import resume
from benchmarks.session.estimate import estimate
from benchmarks.session.request import Request, Variant, left_out, threads_of
from benchmarks.spec.data import Cifar10, GeneratedImages, LinearRegression
from results.record import threads_text
from results.store import Store


def preview(request: Request, asked: str, store: Store, console: Console) -> None:
    """Print the plan. No result is written, no environment made, nothing downloaded; raises as the bench itself would.

    ``asked`` is the hash under which an interrupted session would be continued.
    """
    interpreters, options = Interpreters(request.pythons, console.print), request.options
    interrupted = [] if options.fresh else store.unfinished(asked)
    rows = store.runs(interrupted[0]) if interrupted else store.runs("-")
    standing = set(rows.loc[(rows["status"] == "ok") & (rows["excluded"] == ""), "resume_key"])
    to_run = []
    for variant in request.variants:
        experiment, threads = variant.experiment, threads_of(variant, request.selection)
        samples, data = _look(variant, interpreters)
        told = "" if data else to_download(experiment.data, options.offline)
        if samples is not None:
            classes = data.classes if data else ()
            check(variant.label, experiment, samples, classes, request.selection.start)
        there = 0
        for backend, mode in request.modes:
            keys = _keys(request, variant, data.hash, backend, mode, interpreters) if data else set()
            there += len(keys & standing)
            to_run += [(experiment.hash, backend.name, mode, threads, request.selection.stock)] * (
                options.repeats - len(keys & standing)
            )
        names = ", ".join(f"{backend.name} {mode}" for backend, mode in request.modes)
        already = f", {there} of them are there already" if there else ""
        looked = (
            "" if samples is not None else f"; {told or 'its data is not prepared yet'}; the data was not looked at"
        )
        runs = f"{len(request.modes) * options.repeats} runs in {options.repeats} rounds"
        stock = ", stock" if request.selection.stock else ""
        _say(console, f"{variant.label}, {threads_text(threads)}{stock}: {names}; {runs}{already}{looked}")
    for backend in {backend.name: backend for backend, _ in request.modes}.values():
        if not (interpreters.given(backend) or environments.is_ready(backend)):
            _say(console, f"{backend.name}: its environment is not made yet")
    if text := left_out(request):
        _say(console, text)
    if interrupted:
        _say(console, f"the interrupted session {interrupted[0]} would be continued; --fresh starts over")
    outlook = estimate(store.runs(), to_run, options.spent)
    _say(console, f"{len(to_run)} runs would be run: {outlook}")


def _look(variant: Variant, interpreters: Interpreters) -> tuple[int | None, PreparedData | None]:
    """How many samples train, and the data as far as it is prepared; both None if that would need more than files here.

    What is generated is not made for that. What is read here is prepared, as the bench itself will do it. Raises
    DataError.
    """
    experiment, folder = variant.experiment, variant.path.parent
    spec, validation = experiment.data, experiment.validation
    data = find_prepared(spec, validation, folder)
    if not data and isinstance(spec, GeneratedImages | LinearRegression):
        return left_to_train(spec, spec.samples, validation), None
    needs_more = isinstance(spec, Cifar10) or to_download(spec, offline=False)  # torchvision reads that one
    if not data and not needs_more:
        data = prepare_data(experiment, folder, interpreters)
    return (data.sizes["train"] if data else None), data


def _keys(
    request: Request, variant: Variant, data_hash: str, backend: BackendFile, mode: str, interpreters: Interpreters
) -> set[str]:
    """The keys of a cell's runs in all rounds."""
    selection, options = request.selection, request.options
    start = selection.asked["start"]
    content = resume.Content(
        variant.experiment.hash,
        data_hash,
        backend.hash,
        selection.device,
        selection.precision,
        start,
        selection.stock,
    )
    where = (variant.path.stem, variant.point.label, backend.name, mode, threads_of(variant, selection))
    installed, described = interpreters.installed(backend), describe_machine()
    return {
        resume.key(resume.Place(*where, round_), content, installed, described, options.measured)
        for round_ in range(1, options.repeats + 1)
    }


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
