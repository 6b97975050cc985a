"""The report: one HTML page without network (``page``), and its charts as pictures (``pictures``).

What is here reads results, and imports nothing that draws.
"""

from results.report.facts import log_path
from results.report.panels import Results, every_run, read, read_experiments

PAGE = "report.html"
"""Its name in a results folder."""

__all__ = ["PAGE", "Results", "every_run", "log_path", "read", "read_experiments"]
