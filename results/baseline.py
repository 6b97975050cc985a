"""What everything is compared with."""

BASELINE = ("pytorch", "eager")
"""Backend and mode that ratios are taken against where it is there, and where nothing else is asked for."""
