"""The report: one HTML page without network, and its charts as pictures."""

from results.report.page import write
from results.report.panels import Results, read, read_experiments

PAGE = "report.html"
"""Its name in a results folder."""

__all__ = ["PAGE", "Results", "read", "read_experiments", "write"]
