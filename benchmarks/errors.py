"""The one exception that ends the command line with a single line and exit code 2."""


class InputError(Exception):
    """Something that the user gave is wrong; the message says what, where, and what would be right."""
