"""The commands of lockstep's users and developers: ``nox --list`` shows them."""

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]

SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
"""Two test files at a time; what is marked as ``alone`` measures, and nothing may run beside it."""


@nox.session
def bench(session: nox.Session) -> None:
    """Run the experiments on every framework; arguments after -- go to 'lockstep run'."""
    on_a_cluster = any(argument.startswith("--cluster") for argument in session.posargs)
    _lockstep(session, "run", ".[cluster]" if on_a_cluster else ".")


@nox.session
def tutorials(session: nox.Session) -> None:
    """Run the tutorials in full on every framework ($LOCKSTEP_DATA names the data); arguments after --: '-- --help'."""
    _lockstep(session, "tutorials")


@nox.session
def report(session: nox.Session) -> None:
    """Write results/out/report.html from the newest session; arguments after -- go to 'lockstep report'."""
    _lockstep(session, "report")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, then lint; arguments after -- go to pytest, which runs only once then, and in one process."""
    _install(session, "--group", "dev")
    if session.posargs:
        session.run("pytest", *session.posargs)
    else:
        session.run("pytest", *SIDE_BY_SIDE, "-m", "not alone")
        session.run("pytest", "-m", "alone")
    session.notify("lint")


@nox.session
def check(session: nox.Session) -> None:
    """Take a backend through the contract: name it, or its file, after --; '-- --help' shows the options."""
    _measure(session, "tests.conformance")


@nox.session
def sabotage(session: nox.Session) -> None:
    """Count the sabotaged backends that are caught, and the false alarms among good ones; '-- --help': options."""
    _measure(session, "tests.sabotage")


@nox.session
def faults(session: nox.Session) -> None:
    """Do every fault, kill the bench 100 times at random moments, and fuzz every way in; '-- --help': options."""
    _measure(session, "tests.faults")


@nox.session
def calibrate(session: nox.Session) -> None:
    """Measure how often verdicts are wrong: equals called different, slowdowns not found; '-- --help': options."""
    _measure(session, "tests.calibration")


@nox.session
def overhead(session: nox.Session) -> None:
    """Compare lockstep's throughput with loops without lockstep, experts' and tutorials'; '-- --help': options."""
    _measure(session, "tests.handwritten")


@nox.session
def scripts(session: nox.Session) -> None:
    """Run what 'lockstep script' writes, for every experiment and mode, and compare it; '-- --help': options."""
    _measure(session, "tests.scripts")


@nox.session
def scale(session: nox.Session) -> None:
    """Measure how long the report of 10 000 runs takes to write, to open and to filter; '-- --help': options."""
    _measure(session, "tests.scale")


@nox.session
def speed(session: nox.Session) -> None:
    """Measure how long people wait for bench and command line, and what processes take; '-- --help': options."""
    _measure(session, "tests.speed")


@nox.session
def docs(session: nox.Session) -> None:
    """Write the figures of README and guides anew, and the tutorials as programs of each framework."""
    _measure(session, "tests.documents")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, types, and which room imports which."""
    _install(session, "--group", "dev", "--group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("mypy")
    session.run("lint-imports")


def _install(session: nox.Session, *more: str, package: str = ".") -> None:
    """Install lockstep for a session, whose imports are compiled once, and not anew in every process."""
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    session.install("-e", package, *more)


def _lockstep(session: nox.Session, command: str, package: str = ".") -> None:
    _install(session, package=package)
    _become(session, "lockstep", command, *session.posargs)


def _measure(session: nox.Session, module: str) -> None:
    """Run a module of the tests that measures, and is no test."""
    _install(session, "--group", "dev")
    _become(session, "python", "-m", module, *session.posargs)


def _become(session: nox.Session, program: str, *arguments: str) -> None:
    """Replace this process by a program of the session's environment.

    Nox turns every exit code into 1, and kills what it runs half a second after a Ctrl-C; these programs give their
    codes a meaning, and use a Ctrl-C to finish their rows.
    """
    environment = {name: value for name, value in {**os.environ, **session.env}.items() if value is not None}
    sys.stdout.flush()
    sys.stderr.flush()
    path = Path(session.bin) / program
    os.execve(path, [str(path), *arguments], environment)  # noqa: S606 - no shell
