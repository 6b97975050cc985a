"""What a saboteur is, and what may catch it: the rungs of the ladder, or the status of a run that ends early."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

EVERYTHING = str(Path(__file__).parents[1] / "everything.toml")
VANISHING = str(Path(__file__).parents[1] / "vanishing.toml")
"""The experiments that saboteurs are run on."""

WEIGHTS = "weights in = out"
LOGITS = "logits"
LOSS = "loss"
FIRST_STEP = "weights after one step"
CURVE = "loss curve"
OUTPUTS = "outputs after training"
AFTERWARDS = "training after the last epoch"
FAILED = "failed"
DIVERGED = "diverged"


@dataclass(frozen=True)
class Saboteur:
    """A backend that must not pass; ``caught`` is the rung, or the status of a run that does not get so far.

    ``body`` replaces methods of ``Reference``; ``top`` stands before the class and may replace what the reference is
    made of.
    """

    name: str
    description: str
    caught: str
    body: str = "pass"
    top: str = ""
    reason: str = ""
    """What the row's reason has to contain."""
    base: str = "reference.Reference"
    mode: str = "numpy"
    experiment: str = EVERYTHING

    @property
    def needs_timing(self) -> bool:
        """Whether it is honest until the timed windows, so that these have to be run."""
        return self.caught in (AFTERWARDS, FAILED, DIVERGED)

    def write(self, folder: Path) -> Path:
        """Write the backend's file, named as the saboteur, and return its path."""
        path = folder / f"{self.name}.py"
        path.write_text(
            "# /// script\n# dependencies = ['numpy', 'safetensors']\n# ///\n"
            "import threading, time\nfrom dataclasses import replace\n"
            "import numpy as np\nfrom backends import contract, reference\nfrom backends.float64 import training\n"
            "from backends.float64.layers import OPERATIONS, Back, avg_pool2d, max_pool2d\n"
            "from backends.float64.losses import LOSSES, cross_entropy\n"
            "from backends.float64.optimizers import update\n"
            f"{textwrap.dedent(self.top)}\n"
            f"class Sabotaged({self.base}):\n"
            f"    modes = {{{self.mode!r}: {self.description!r}}}\n    devices = ('cpu',)\n"
            + textwrap.indent(textwrap.dedent(self.body), "    ")
        )
        return path
