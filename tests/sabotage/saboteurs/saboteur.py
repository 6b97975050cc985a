"""What a saboteur is, and what may catch it: the rungs of the ladder, or the status of a run that ends early."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EVERYTHING = str(Path(__file__).parents[1] / "everything.toml")
VANISHING = str(Path(__file__).parents[1] / "vanishing.toml")
MODELS = str(Path(__file__).parents[1] / "models.toml")
ADAM = str(Path(__file__).parents[1] / "adam.toml")
ZERO = str(Path(__file__).parents[1] / "zero.toml")
EXPERIMENTS = (EVERYTHING, VANISHING, ZERO, MODELS, ADAM)
"""The experiments that saboteurs are run on."""

WEIGHTS = "weights in = out"
LOGITS = "logits"
LOSS = "loss"
FIRST_STEP = "weights after one step"
CURVE = "loss curve"
STATISTICS = "running statistics"
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
            "import threading, time\nfrom copy import copy\nfrom dataclasses import replace\n"
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


EDIT = """
import inspect, textwrap
from backends.float64 import activations, layers, losses, normalization, optimizers, windows
def edit(module, name, changes):
    *owner, last = name.split(".")
    owner = getattr(module, *owner) if owner else module
    function, made = getattr(owner, last), {}
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes.items():
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {name}"
        source = source.replace(old, new)
    exec(source, vars(module), made)
    setattr(owner, last, made[last])
    for where in (vars(layers), vars(training), OPERATIONS, LOSSES):
        where.update({key: made[last] for key, value in where.items() if value is function})
"""


def edited(
    name: str, description: str, caught: str, function: str, changes: Mapping[str, str], experiment: str = MODELS
) -> Saboteur:
    """A saboteur with a mistake in one function of ``backends.float64``, such as "losses.mean".

    ``changes`` are pieces of its source, each of which has to stand there once, and what stands there instead.
    """
    module, _, inside = function.partition(".")
    top = f"{EDIT}edit({module}, {inside!r}, {dict(changes)!r})\n"
    return Saboteur(name, description, caught, top=top, experiment=experiment)


def trained(name: str, description: str, caught: str, lines: str, experiment: str = MODELS) -> Saboteur:
    """A saboteur that takes its steps in another way: ``lines`` are the body of ``train``."""
    body = "def train(self, data, batches, rates=None):\n" + textwrap.indent(textwrap.dedent(lines).strip(), "    ")
    return Saboteur(name, description, caught, body, experiment=experiment)
