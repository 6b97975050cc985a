"""The exceptions of every room that end the command line with a single line and exit code 2."""


class InputError(Exception):
    """Something that the user gave is wrong; the message says what, where, and what would be right."""


class DataError(Exception):
    """A data set cannot be had here; the message is one line that says what is wrong, where, and what to do."""
