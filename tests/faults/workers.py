"""Faults of a worker. All of them are in one bench, beside two honest backends that have to come through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.helpers import Bench, Outcome, clean, counting, write_backend

MEMORY = 2**28
"""Bytes of address space that are left for the worker that takes more and more."""

FLOOD = 2**30
"""Bytes that the loud worker prints."""


@dataclass(frozen=True)
class WorkerFault:
    """What a backend does wrong, and how its run has to end."""

    description: str
    body: str
    status: str
    reason: str
    """Part of the row's reason."""
    phase: str = "first_step"


def _on_train(*statements: str) -> str:
    return "def train(self, data, batches):\n    " + "\n    ".join(statements)


CHANNEL = "channel = next(x for x in gc.get_objects() if isinstance(x, Connection) and not x.closed).fileno()"
"""In a copy it is not the one that its host was started with."""


FAULTS = {
    "killed": WorkerFault("SIGKILL", _on_train("os.kill(os.getpid(), signal.SIGKILL)"), "failed", "SIGKILL"),
    "segfault": WorkerFault("SIGSEGV", _on_train("os.kill(os.getpid(), signal.SIGSEGV)"), "failed", "SIGSEGV"),
    "memory": WorkerFault(
        "out of memory (limited address space)",
        _on_train(
            "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()",
            f"resource.setrlimit(resource.RLIMIT_AS, (taken + {MEMORY}, taken + {MEMORY}))",
            "self.hoard = []",
            "while True: self.hoard.append(np.ones(2**21))",
        ),
        "failed",
        "MemoryError",
    ),
    "hanging": WorkerFault(
        "hang, with a child in a session of its own",
        _on_train(
            "child = subprocess.Popen(['sleep', '987654'], start_new_session=True)",
            "print('child', child.pid, flush=True)",
            "time.sleep(600)",
        ),
        "timeout",
        "time-out",
    ),
    "silent": WorkerFault("exit code 0 without a result", _on_train("os._exit(0)"), "failed", "exited with code 0"),
    "exiting": WorkerFault("exit code 7 without a result", _on_train("os._exit(7)"), "failed", "exited with code 7"),
    "garbage": WorkerFault(
        "garbage on the channel",
        _on_train(CHANNEL, "os.write(channel, b'garbage!' * 9)", "time.sleep(600)"),
        "failed",
        "not readable",
    ),
    "half": WorkerFault(
        "half a message on the channel",
        _on_train(CHANNEL, "os.write(channel, (1000).to_bytes(4, 'big') + b'half')", "time.sleep(600)"),
        "timeout",
        "time-out",
    ),
    "loud": WorkerFault(
        "1 GiB on stdout",
        f"def load(self, job):\n    super().load(job)\n    for _ in range({FLOOD} // 2**20): os.write(1, b'x' * 2**20)",
        "ok",
        "",
        "bookkeeping",
    ),
    "nan": WorkerFault(
        "NaN loss",
        "def synchronize(self, handle):\n    losses = super().synchronize(handle); losses[-1:] = np.nan; return losses",
        "diverged",
        "nan at step 1",
    ),
    "infinite": WorkerFault(
        "infinite loss at step 7",
        "def synchronize(self, handle):\n"
        "    losses = super().synchronize(handle)\n"
        "    if len(losses) > 5: losses[5] = np.inf\n"
        "    return losses",
        "diverged",
        "inf at step 7",
        "train",
    ),
    "unimportable": WorkerFault(
        "import error", "raise ImportError('libmissing.so')", "failed", "libmissing.so", "import"
    ),
    "misshapen": WorkerFault(
        "outputs of another shape",
        "def predict(self, data):\n    return np.zeros((3, 3), np.float32)",
        "failed",
        "(3, 3)",
        "evaluate",
    ),
    "unable": WorkerFault(
        "a device that is not there",
        "def load(self, job):\n    from backends.contract import Unavailable; raise Unavailable('not today')",
        "unavailable",
        "not today",
        "load",
    ),
}

HONEST = ("honest", "upright")
HONEST_BESIDE = "the honest backends beside all of these"


def run(folder: Path, timeout: float = 30) -> dict[str, Outcome]:
    """Run all faults, each for so many seconds at most, and the honest backends; return what became of each."""
    for name, fault in FAULTS.items():
        write_backend(folder, name, fault.body)
    bench = Bench(folder, (*FAULTS, *HONEST), repeats=1)
    code, output = bench.run("--timeout", str(timeout))
    rows = counting(bench.runs).set_index("backend")
    whole = code == 1 and clean(output) and len(rows) == len(FAULTS) + len(HONEST)
    # Also of those that failed before they could say which device "auto" is.
    whole = whole and set(rows["device"]) == {"cpu"}
    outcomes = {}
    for name, fault in FAULTS.items():
        row = rows.loc[name]
        log = folder / bench.results / str(row["log"])
        held = whole and fault.reason in row["reason"] and (row["status"], row["phase"]) == (fault.status, fault.phase)
        kept = f"row and {log.stat().st_size:,} bytes of log"
        if name == "hanging":
            child = int(log.read_text().split("child ")[1].split()[0])
            gone = not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
            held, kept = held and gone, f"{kept}; {'no' if gone else 'AN'} orphan"
        if name == "loud":
            held = held and log.stat().st_size < 10 * 2**20
        outcomes[fault.description] = Outcome(f"{row['status']}: {row['reason']}"[:90], code, kept, bool(held))
    fine = whole and all(rows.loc[name, "status"] == "ok" for name in HONEST)
    outcomes[HONEST_BESIDE] = Outcome("ok" if fine else "NOT OK", code, "2 rows", fine)
    return outcomes
