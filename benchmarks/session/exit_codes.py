"""Exit codes of a command that was understood."""

OK, SOME_FAILED, NOTHING_SELECTED = 0, 1, 3
