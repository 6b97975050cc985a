"""Ctrl-C and SIGTERM: they end a bench in order, and never between two things that belong together."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """A signal has asked for the end; the message is what it is called.

    It is no KeyboardInterrupt, which Typer would turn into an exit code that is the same for all signals.
    """

    def __init__(self, number: int) -> None:
        """Keep the signal."""
        super().__init__("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        self.exit_code = 128 + number


class _State:
    """Signals wait for the end of the outermost shield."""

    depth = 0
    waiting: int | None = None


def install() -> None:
    """Have Ctrl-C and SIGTERM raise ``Interrupted`` in the main thread, each time that they come."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)


@contextmanager
def shielded() -> Iterator[None]:
    """Do the whole of a ``with`` block, which has to be short; a signal that comes meanwhile is raised at its end."""
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
        number, _State.waiting = _State.waiting, None
        if number is not None:
            _handle(number, None)


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.depth:
        _State.waiting = number
    else:
        raise Interrupted(number)
