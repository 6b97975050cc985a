"""Faults of the bench as a whole: signals, disks, clocks, other benches, stores that are old, new or damaged."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from results.store import Store
from tests.faults.helpers import Bench, Outcome, clean, counting, wait_for, write_backend
from tests.faults.quick import digests_of_store

OK_ROW = ": ok"


def _continues(bench: Bench, before: pd.DataFrame) -> bool:
    """Whether the same command goes on: what was ok is as it was, and all that is planned is ok in the end."""
    code, output = bench.run()
    after = bench.runs
    ok = before.loc[before["status"] == "ok", "run"]
    same = set(ok) <= set(counting(after)["run"])
    return code == 0 and clean(output) and same and len(counting(after)) == bench.repeats * len(bench.backends)


def ctrl_c_once(folder: Path) -> Outcome:
    """Ctrl-C: planned runs get a row, tables and report are written, and the same command goes on."""
    return _signalled(folder, signal.SIGINT, 130, "Ctrl-C")


def terminated(folder: Path) -> Outcome:
    """SIGTERM: the same."""
    return _signalled(folder, signal.SIGTERM, 143, "SIGTERM")


def _signalled(folder: Path, number: signal.Signals, exit_code: int, name: str) -> Outcome:
    bench = Bench(folder, repeats=3)
    process = bench.start()
    seen = wait_for(process, OK_ROW)
    process.send_signal(number)
    seen += process.communicate(timeout=60)[0]
    rows, written = bench.runs, (folder / "out" / "report.html").exists() and (folder / "out" / "runs.csv").exists()
    interrupted = rows[rows["status"] == "interrupted"]
    held = process.returncode == exit_code and clean(seen) and written and len(rows) == 6
    held = held and len(interrupted) > 0 and interrupted["reason"].str.startswith(f"stopped by {name}").all()
    kept = f"{len(rows) - len(interrupted)} ok rows, tables, report; continued"
    held = held and _continues(bench, rows)
    return Outcome(f"{len(interrupted)} interrupted", process.returncode, kept, bool(held))


def ctrl_c_twice(folder: Path) -> Outcome:
    """Two Ctrl-C: it stops at once, nothing is broken or half written, and the same command goes on."""
    bench = Bench(folder, repeats=3)
    process = bench.start()
    seen = wait_for(process, OK_ROW)
    process.send_signal(signal.SIGINT)
    seen += wait_for(process, "stopping")
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    seen += process.communicate(timeout=60)[0]
    seconds = time.monotonic() - begin
    rows = bench.runs
    halves = [path.name for path in (folder / "out").glob(".*")]
    held = process.returncode == 130 and clean(seen) and not halves and seconds < 10 and _continues(bench, rows)
    kept = f"{(rows['status'] == 'ok').sum()} ok rows, no half files; continued"
    return Outcome(f"stopped after {seconds:.1f} s", process.returncode, kept, held)


def ctrl_c_while_importing(folder: Path) -> Outcome:
    """A framework hangs while it is imported: Ctrl-C does not wait for it."""
    write_backend(folder, "first", top="time.sleep(600)")
    bench = Bench(folder, repeats=1)
    process = bench.start()
    seen = wait_for(process, "no estimate")
    time.sleep(4)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    seen += process.communicate(timeout=60)[0]
    seconds = time.monotonic() - begin
    held = process.returncode == 130 and clean(seen) and list(bench.runs["status"]) == ["interrupted"] * 2
    return Outcome("2 interrupted", process.returncode, f"tables and report, after {seconds:.1f} s", held)


def two_at_once(folder: Path) -> Outcome:
    """Two benches with the same command write the same store: two sessions, every row of both."""
    bench = Bench(folder)
    processes = [bench.start() for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    rows = bench.runs
    reported = [line.split()[1:] for output in outputs for line in output.splitlines() if line.startswith("ROW")]
    stored = digests_of_store(bench.store.path)
    held = all(process.returncode == 0 for process in processes) and clean("".join(outputs))
    held = held and dict(reported) == stored and list(rows.groupby("session").size()) == [4, 4]
    return Outcome("8 ok rows" if (rows["status"] == "ok").all() else "NOT OK", 0, "both sessions, to the bit", held)


def clock_jumps_backwards(folder: Path) -> Outcome:
    """The clock of the system goes back by an hour at every look: all times are taken with another clock."""
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(
        "import time\nreal, looks = time.time, [0]\n"
        "def jumping():\n    looks[0] += 1\n    return real() - 3600 * looks[0]\n"
        "gmtime, localtime = time.gmtime, time.localtime\ntime.time = jumping\n"
        "time.gmtime = lambda seconds=None: gmtime(jumping() if seconds is None else seconds)\n"
        "time.localtime = lambda seconds=None: localtime(jumping() if seconds is None else seconds)\n"
    )
    bench = Bench(folder)
    bench.variables["PYTHONPATH"] = f"{folder / 'clock'}:{bench.environment['PYTHONPATH']}"
    code, output = bench.run()
    rows, windows = bench.runs, bench.store.windows()
    first = str(rows.loc[rows["round"] == 1, "started"].min())
    last = str(rows.loc[rows["round"] == 2, "started"].max())
    times = rows[[name for name in rows if str(name).endswith("_seconds")]].astype(float)
    held = code == 0 and clean(output) and last < first and (times.fillna(0) >= 0).all(axis=None)
    held = held and (windows["seconds"] > 0).all() and (rows["wall_seconds"] < 300).all()
    return Outcome("4 ok rows", code, f"times are right; the clock: {first}, then {last}", bool(held))


def disk_full(folder: Path) -> Outcome:
    """The disk of the results is full half way: rows that were written stay, and with room the same command goes on."""
    with small_disk(folder / "small", "3m"):
        bench = Bench(folder, repeats=4, results=Path("small/out"))
        process = bench.start()
        seen = wait_for(process, OK_ROW, times=3)
        with suppress(OSError), (folder / "small" / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        seen += process.communicate(timeout=120)[0]
        reported = dict(line.split()[1:] for line in seen.splitlines() if line.startswith("ROW"))
        stored = digests_of_store(bench.store.path)
        told = "disk is full" in seen or "No space left" in seen
        held = process.returncode == 1 and clean(seen) and told and reported.items() <= stored.items()
        (folder / "small" / "ballast").unlink()
        kept = f"{len(reported)} reported rows of 8, to the bit"
        _, again = bench.run()
        held = held and len(counting(bench.runs)) == 8 and clean(again)
        return Outcome("stopped, with the reason", process.returncode, f"{kept}; continued with room", held)


def scratch_full(folder: Path) -> Outcome:
    """The disk of temporary files is full: one line, nothing half done."""
    with small_disk(folder / "small", "16k"):
        bench = Bench(folder)
        bench.variables["TMPDIR"] = str(folder / "small")
        code, output = bench.run()
        held = code == 1 and clean(output) and "No space left" in output
        return Outcome("stopped, with the reason", code, "nothing was there", held)


def read_only(folder: Path) -> Outcome:
    """The results folder is read-only: refused before anything is run; what is there can still be read."""
    bench = Bench(folder, results=Path("small/out"))
    with small_disk(folder / "small", "8m"):
        bench.run()
        rows = bench.runs
        subprocess.run(["mount", "-o", "remount,ro", str(folder / "small")], check=True)  # noqa: S607
        code, output = bench.run()
        shown, table = bench.command("table", "--results", "small/out")
        held = code == 2 and clean(output) and "Read-only" in output and "ROW" not in output
        held = held and shown == 0 and "first" in table and len(bench.runs) == len(rows) == 4
        return Outcome("refused", code, "4 rows, readable", held)


def killed(folder: Path) -> Outcome:
    """SIGKILL of the parent: rows stay, no worker is left, and the same command goes on."""
    bench = Bench(folder, repeats=3)
    process = bench.start()
    wait_for(process, OK_ROW, times=3)
    process.kill()
    process.communicate()
    rows = bench.runs
    held = len(rows) >= 3 and _continues(bench, rows)
    return Outcome(f"{len(rows)} ok rows of 6", process.returncode, "all of them; continued", held)


def older_store(folder: Path) -> Outcome:
    """A store from an older version: read as it is, and migrated when it is written."""
    bench = Bench(folder)
    bench.run()
    with sqlite3.connect(bench.store.path) as connection:
        connection.executescript("DROP TABLE sessions; DROP TABLE excluded; PRAGMA user_version = 1;")
    readable, _ = bench.command("runs", "--results", "out")
    code, output = bench.run()
    held = readable == code == 0 and clean(output) and len(bench.runs) == 8
    return Outcome("migrated", code, "all 4 old rows", held)


def newer_store(folder: Path) -> Outcome:
    """A store from a newer version: refused in one line, and not touched."""
    bench = Bench(folder)
    Store(folder / "out").begin("s", "asked")
    with sqlite3.connect(bench.store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = bench.store.path.read_bytes()
    code, output = bench.run()
    held = code == 2 and "update lockstep" in output and clean(output) and bench.store.path.read_bytes() == before
    return Outcome("refused", code, "the store, untouched", held)


def truncated_store(folder: Path) -> Outcome:
    """The end of the store is missing: the damage is told, what can be read is kept, and the same command goes on."""
    bench = Bench(folder, repeats=8)
    bench.run()
    rows, path = bench.runs, bench.store.path
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.8)])
    code, output = bench.command("runs", "--results", "out")
    kept = bench.runs
    held = code == 1 and "could be read and are kept" in output and clean(output) and len(kept) > 0
    same = rows[rows["run"].isin(kept["run"])].drop(columns="excluded").to_csv()
    held = held and kept.drop(columns="excluded").set_axis(rows.index[: len(kept)]).to_csv() == same
    held = held and bench.run()[0] == 0 and (folder / "out" / "lockstep-damaged-1.sqlite").exists()
    return Outcome("told", code, f"{len(kept)} of {len(rows)} rows, and the damaged file", held)


def conflicting_requirements(folder: Path) -> Outcome:
    """An environment whose requirements contradict each other: a row with uv's reason; the others run."""
    return _environment(folder, "['iniconfig==2.0.0', 'iniconfig==2.1.0']", {}, "iniconfig")


def no_network(folder: Path) -> Outcome:
    """An environment without network: a row with uv's reason; the others run."""
    variables = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "uv")}
    return _environment(folder, "['iniconfig']", variables, "network")


def no_room_for_an_environment(folder: Path) -> Outcome:
    """An environment on a full disk: a row with the reason; the others run."""
    with small_disk(folder / "small", "64k"):
        small = folder / "small"
        variables = {"UV_CACHE_DIR": str(small / "uv"), "FAULTS_ENVIRONMENTS": str(small / "environments")}
        return _environment(folder, "['numpy']", variables, "No space left")


def _environment(folder: Path, requirements: str, variables: dict[str, str], reason: str) -> Outcome:
    path = write_backend(folder, "unmade")
    path.write_text(path.read_text().replace("['numpy', 'safetensors']", requirements))
    bench = Bench(folder, repeats=1, variables={"FAULTS_ENVIRONMENTS": str(folder / "environments"), **variables})
    code, output = bench.run("--backend", "unmade.py")
    rows = bench.runs.set_index("backend")
    row = rows.loc["unmade"]
    held = code == 1 and clean(output) and (row["status"], row["phase"]) == ("failed", "environment")
    held = held and reason in row["reason"] and list(rows["status"].drop("unmade")) == ["ok", "ok"]
    return Outcome(f"failed: {row['reason']}"[:90], code, "2 ok rows", held)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size, such as "4m"; raises PermissionError where nobody may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "lockstep-faults", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607
        shutil.rmtree(folder)


FAULTS: dict[str, Callable[[Path], Outcome]] = {
    "Ctrl-C once": ctrl_c_once,
    "Ctrl-C twice": ctrl_c_twice,
    "Ctrl-C while a framework is imported": ctrl_c_while_importing,
    "SIGTERM": terminated,
    "SIGKILL of the parent": killed,
    "two benches write the same store": two_at_once,
    "the clock jumps backwards": clock_jumps_backwards,
    "disk full while writing": disk_full,
    "disk of temporary files full": scratch_full,
    "read-only results folder": read_only,
    "store of an older version": older_store,
    "store of a newer version": newer_store,
    "truncated store": truncated_store,
    "environment: resolver conflict": conflicting_requirements,
    "environment: no network": no_network,
    "environment: disk full": no_room_for_an_environment,
}
