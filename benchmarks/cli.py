"""The command line of lockstep: its commands, and how every foreseen error ends.

It starts at once: no module of this room imports at its top what only one command needs.
"""

from __future__ import annotations

import io
import logging
import sys

import typer

from backends.hosting.environments import BackendFileError, EnvironmentFailed
from benchmarks.commands import listing, looking, scripting, training
from benchmarks.errors import DataError, InputError
from benchmarks.session import signals
from benchmarks.session.exit_codes import SOME_FAILED
from results.errors import DamagedStoreError, StoreError

BAD_INPUT = 2

app = typer.Typer(
    help="Trains the same model on PyTorch, MindSpore and JAX and compares them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    training.run,
    listing.list_,
    looking.table,
    looking.report_,
    looking.plot,
    looking.runs,
    looking.log,
    looking.explain,
    looking.exclude,
    training.predict,
    training.tutorials,
    scripting.script,
    listing.schema,
    listing.new_backend,
):
    app.command(command.__name__.strip("_").replace("_", "-"))(command)


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack the characters of a name
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
        code = _fail(str(error), SOME_FAILED)
    except OSError as error:
        code = _fail(f"{error.filename or 'writing'}: {error.strerror or error}", SOME_FAILED)
    except signals.Interrupted as signal:
        code = _fail(f"stopped by {signal}; what had finished is kept, and the same command goes on", signal.exit_code)
    sys.exit(code)


def _recover(error: DamagedStoreError) -> int:
    """Keep what can be read of a store that was found damaged, and say what became of it."""
    from results.recovery import recover

    try:
        rescued = recover(error.path)
    except StoreError as failure:
        return _fail(str(failure), SOME_FAILED)
    return _fail(f"{error}; {rescued}; the same command goes on from there", SOME_FAILED)


def _fail(message: str, code: int) -> int:
    print(f"lockstep: {' '.join(message.split())}", file=sys.stderr)
    return code
