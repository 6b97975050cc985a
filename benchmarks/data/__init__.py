"""Data sets: what an experiment may name, and how each becomes memory-mapped arrays that every backend reads."""

from benchmarks.data.cache import PreparedData, Split
from benchmarks.data.prepare import normalised, prepare

__all__ = ["PreparedData", "Split", "normalised", "prepare"]
