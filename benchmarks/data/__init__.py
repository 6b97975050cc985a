"""Data sets: what an experiment may name, and how each becomes memory-mapped arrays that every backend reads."""

from benchmarks.data.cache import PreparedData, Split
from benchmarks.data.prepare import normalised, prepare
from benchmarks.data.torchvision_sets import Torchvision

__all__ = ["PreparedData", "Split", "Torchvision", "normalised", "prepare"]
