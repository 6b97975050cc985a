"""Where a request is carried out: on this machine, or on those of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cluster.machines import need_dask
from benchmarks.session.exit_codes import NOTHING_SELECTED
from benchmarks.session.options import Options
from benchmarks.session.request import Selection, read, threads_of

if TYPE_CHECKING:
    from rich.console import Console


def bench(
    selection: Selection,
    options: Options,
    pythons: dict[str, str],
    results: Path,
    console: Console,
    dry_run: bool = False,
    cluster: str | None = None,
) -> int:
    """Run the selected cells, or with ``dry_run`` only say what would be run; return the exit code.

    ``cluster`` names a Dask cluster whose machines run them, as ``cluster.machines.connected`` takes it; without it,
    this machine does. Raises InputError, DataError or BackendFileError before anything is run or written, if the input
    is bad.
    """
    request = read(selection, options, pythons)
    if request is None:
        console.print("nothing selected: no experiment and mode fit the arguments", markup=False)
        return NOTHING_SELECTED
    if cluster is not None:
        need_dask()
    else:
        for variant in request.variants:
            threads_of(variant, selection)  # raises InputError
    # What could be refused without them has been.
    from benchmarks.session.resume import asked
    from results.store import Store

    store = Store(results)
    store.check()
    wanted = {**selection.asked, "cluster": True} if cluster is not None else selection.asked
    what = asked(wanted, options.measured, options.rounds)
    if cluster is None:
        from benchmarks.session.local import on_this_machine

        return on_this_machine(request, what, store, console, dry_run)
    from benchmarks.cluster.session import on_cluster  # which imports Dask

    return on_cluster(cluster, request, what, store, console, dry_run)
