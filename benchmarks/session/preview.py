"""The plan of a bench that is not run: what would run, what is there already, and how long it would take."""

from __future__ import annotations

from rich.console import Console

from backends.hosting import environments
from backends.hosting.environments import BackendFile, Interpreters
from benchmarks.cell.materials import check_size
from benchmarks.data.prepare import find_prepared, to_download
from benchmarks.machine.description import describe_machine
from benchmarks.session import resume
from benchmarks.session.estimate import estimate
from benchmarks.session.request import Request, Variant, left_out, threads_of
from results.store import Store


def preview(request: Request, asked: str, store: Store, console: Console) -> None:
    """Print the plan. Nothing is written, made or downloaded; raises InputError as the bench itself would.

    ``asked`` is the hash under which an interrupted session would be continued.
    """
    interpreters, options = Interpreters(request.pythons, console.print), request.options
    interrupted = [] if options.fresh else store.unfinished(asked)
    rows = store.runs(interrupted[0]) if interrupted else store.runs("-")
    standing = set(rows.loc[(rows["status"] == "ok") & (rows["excluded"] == ""), "resume_key"])
    to_run = []
    for variant in request.variants:
        experiment, threads = variant.experiment, threads_of(variant, request.selection)
        data = find_prepared(experiment.data, experiment.validation, variant.path.parent)
        if data:
            check_size(variant.path.stem, experiment, data.sizes["train"])
        there = 0
        for backend, mode in request.modes:
            keys = _keys(request, variant, data.hash, backend, mode, interpreters) if data else set()
            there += len(keys & standing)
            to_run += [(experiment.hash, backend.name, mode, threads, request.selection.stock)] * (
                options.repeats - len(keys & standing)
            )
        names = ", ".join(f"{backend.name} {mode}" for backend, mode in request.modes)
        already = f", {there} of them are there already" if there else ""
        prepared = "" if data else "; its data is not prepared yet"
        if not data and (told := to_download(experiment.data, options.offline)):
            prepared = f"; {told}"
        runs = f"{len(request.modes) * options.repeats} runs in {options.repeats} rounds"
        stock = ", stock" if request.selection.stock else ""
        _say(console, f"{variant.label}, {threads} threads{stock}: {names}; {runs}{already}{prepared}")
    for backend in {backend.name: backend for backend, _ in request.modes}.values():
        if not (interpreters.given(backend) or environments.is_ready(backend)):
            _say(console, f"{backend.name}: its environment is not made yet")
    if text := left_out(request):
        _say(console, text)
    if interrupted:
        _say(console, f"the interrupted session {interrupted[0]} would be continued; --fresh starts over")
    outlook = estimate(store.runs(), to_run, options.spent)
    _say(console, f"{len(to_run)} runs would be run: {outlook}")


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
