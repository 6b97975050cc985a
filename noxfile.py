"""The commands of lockstep's users and developers: ``nox --list`` shows them."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]


@nox.session
def bench(session: nox.Session) -> None:
    """Run the experiments on every framework; arguments after -- go to 'lockstep run'."""
    session.install("-e", ".")
    session.run("lockstep", "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, then lint; arguments after -- go to pytest."""
    session.install("-e", ".", "--group", "dev")
    session.run("pytest", *session.posargs)
    session.notify("lint")


@nox.session
def check(session: nox.Session) -> None:
    """Take a backend through the contract: name it, or its file, after --; '-- --help' shows the options."""
    session.install("-e", ".", "--group", "dev")
    session.run("python", "-m", "tests.conformance", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    session.install("-e", ".", "--group", "dev", "--group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
