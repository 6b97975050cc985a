"""The command behind ``nox -s scale``: does the report stay quick with many runs?

Makes up a session of 10 000 runs with five epochs each, writes its report in a process of its own, opens it in
Chromium, filters the table, and prints what that took; then the size of the report of 1 000 runs. Ends with 1 if a
figure is outside its bound, with 2 for bad input.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from results.report import PAGE
from results.store import Store
from tests.results.made_up import CELLS, make_run
from tests.results.report import chromium
from tests.results.report.conftest import open_

EPOCHS, ROUNDS = 5, 5
MANY, SOME = 10_000, 1_000

WRITER = """
import json, resource, sys, time
from pathlib import Path
from results import report
from results.report.page import write
begin = time.perf_counter()
write(report.read(Path(sys.argv[1])), Path(sys.argv[1]) / report.PAGE)
seconds = time.perf_counter() - begin
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


@dataclass(frozen=True)
class Figure:
    """Something that was measured, and what it may be at most."""

    what: str
    value: float
    bound: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it is within its bound."""
        return self.value <= self.bound


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--runs", type=int, default=MANY, help="runs of the large session (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.runs < len(CELLS) * ROUNDS:
        parser.error(f"--runs {arguments.runs}: at least {len(CELLS) * ROUNDS} make one experiment")
    try:
        with chromium.running():  # not at the end of a long wait
            pass
    except (chromium.NoChromium, chromium.UnusableChromium) as error:
        parser.error(str(error))
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    with tempfile.TemporaryDirectory(prefix="lockstep-scale-") as folder:
        figures = measure(Path(folder) / "many", arguments.runs, console)
        make(Path(folder) / "some", SOME, console)
        write_report(Path(folder) / "some")
        size = (Path(folder) / "some" / PAGE).stat().st_size
        figures.append(Figure(f"size of the report of {SOME:,} runs", size / 1e6, 8, "MB"))
    show(figures, console)
    return 0 if all(figure.holds for figure in figures) else 1


def measure(folder: Path, runs: int, console: Console) -> list[Figure]:
    """The figures of one large session."""
    make(folder, runs, console)
    seconds, memory = write_report(folder)
    loaded, filtered, shown = browse((folder / PAGE).as_uri())
    return [
        Figure(f"writing the report of {runs:,} runs", seconds, 15, "s"),
        Figure("memory of the process that writes it", memory / 1e9, 2, "GB"),
        Figure("its size", (folder / PAGE).stat().st_size / 1e6, 64, "MB"),
        Figure("until the table is there", loaded, 2, "s"),
        Figure("a filter, until rows and charts have followed", filtered, 0.2, "s"),
        Figure("another comparison, until its charts are drawn", shown, 2, "s"),
    ]


def make(folder: Path, runs: int, console: Console) -> None:
    """Fill a store: experiments of all cells in five rounds, as many as it takes."""
    store = Store(folder)
    cells = list(CELLS)
    for number in track(range(runs), f"making up {runs:,} runs", console=console, disable=not console.is_terminal):
        experiment, place = divmod(number, len(cells) * ROUNDS)
        round_, cell = divmod(place, len(cells))
        store.append(make_run(number, f"experiment-{experiment}", cells[cell], round_ + 1, EPOCHS))


def write_report(folder: Path) -> tuple[float, float]:
    """Write the report in a fresh process; return its seconds and its largest memory in bytes."""
    ended = subprocess.run([sys.executable, "-c", WRITER, str(folder)], capture_output=True, text=True, check=True)
    seconds, memory = json.loads(ended.stdout)
    return seconds, memory


def browse(address: str) -> tuple[float, float, float]:
    """Seconds until the table is there, of a filter, and of opening another comparison."""
    with chromium.running() as browser:
        page = browser.new_context(offline=True).new_page()
        begin = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("#cells tbody tr")
        loaded = time.perf_counter() - begin
        open_(page, address)
        filtered = page.evaluate(
            """async () => {
                const input = document.querySelector("#cells thead input[aria-label='filter: backend']");
                const begin = performance.now();
                input.value = "jax";
                input.dispatchEvent(new Event("input"));
                await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                return (performance.now() - begin) / 1000;
            }"""
        )
        begin = time.perf_counter()
        page.locator("#panel").select_option(index=1)
        page.wait_for_selector("#charts[data-drawn='1']")
        shown = time.perf_counter() - begin
    return loaded, float(filtered), shown


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print a table."""
    table = Table("", "measured", "at most", "", box=box.SIMPLE_HEAD)
    for figure in figures:
        value, bound = (f"{number:.3g} {figure.unit}" for number in (figure.value, figure.bound))
        table.add_row(figure.what, value, bound, "ok" if figure.holds else "OUT OF BOUNDS")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
