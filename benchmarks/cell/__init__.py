"""One run of one cell: its way from the start of a worker to the row."""
