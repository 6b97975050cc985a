"""Fills the template beside a backend's file with an experiment."""

from __future__ import annotations

import operator
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
from ruff import find_ruff_bin

from backends import contract
from backends.hosting.environments import BackendFile
from benchmarks.data import Split
from benchmarks.data.torchvision_sets import TORCHVISION
from benchmarks.errors import InputError
from benchmarks.spec.experiment import Experiment

Language = Literal["en", "zh"]

LINE_LENGTH = 100
WINDOW = 50
"""Steps of a window in which a script measures its speed, where an epoch has far more."""

TEST_AT_ONCE = 2000
"""Test samples that a script passes through its model at a time; more are cut into parts."""


@dataclass(frozen=True)
class Script:
    """What a script is to be: an experiment in one mode of one backend."""

    name: str
    """Of the experiment; the names of the script's files begin with it."""
    experiment: Experiment
    sizes: Mapping[Split, int]
    """Samples of "train" and "test"."""
    classes: Sequence[str]
    """Names of the classes; none in a regression."""
    backend: BackendFile
    mode: str
    threads: int
    exact: bool = False
    """Whether it reads initial weights and order from files beside it."""
    language: Language = "en"
    output: str = ""
    """Name of the file, if it is another one than usual."""

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return re.sub(r"\W", "_", self.name)

    @property
    def file(self) -> str:
        """Its name."""
        return self.output or f"{self.stem}_{self.backend.name}_{self.mode}.py"


def render(script: Script) -> str:
    """Return the program, formatted. Raises InputError where the template does not cover what is asked for."""
    template = script.backend.path.with_suffix(".jinja")
    if not template.exists():
        raise InputError(f"script: the backend {script.backend.name!r} has no template; one would be {template}")
    check(script)
    folders = [template.parent, Path(__file__).parent]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - it is Python that is written, from a checked experiment
    )
    environment.filters["kind"] = lambda value: type(value).__name__ if value else ""
    model = script.experiment.model
    images = of_images(model)
    environment.filters["repr"] = lambda value: repr(str(value))
    environment.tests["of_images"] = lambda layer: id(layer) in images
    environment.globals["refuse"] = refuse
    return formatted(environment.get_template(template.name).render(context(script, model)))


def check(script: Script) -> None:
    """Refuse what no template has."""
    experiment = script.experiment
    if experiment.input != "resident":
        raise InputError(f'script: input = "{experiment.input}" has no script; take input = "resident"')
    if experiment.replicas > 1:
        raise InputError(f"script: replicas = {experiment.replicas} has no script; take one")


def refuse(what: str) -> None:
    """Called by a template that does not cover something."""
    raise InputError(f"script: {what}")


def context(script: Script, model: contract.Model) -> dict[str, Any]:
    """What templates know of an experiment."""
    experiment, sizes = script.experiment, script.sizes
    layers = [layer for _, layer in contract.named_layers(model.layers)]
    full_steps, rest = divmod(sizes["train"], experiment.batch_size)
    steps_per_epoch = full_steps + (rest > 0)
    schedule = experiment.schedule
    requirements = {_name(text): text for text in script.backend.header["dependencies"]}
    torchvision = TORCHVISION.get(experiment.data.name)
    return {
        "t": (lambda english, chinese: chinese if script.language == "zh" else english),
        "title": _plain(experiment.description),
        "stem": script.stem,
        "file": script.file,
        "backend": script.backend.name,
        "mode": script.mode,
        "exact": script.exact,
        "threads": script.threads,
        "python": script.backend.header["requires-python"],
        "requirement": lambda name: requirements.get(name, name),
        "experiment": experiment,
        "data": experiment.data,
        "mean": getattr(experiment.data, "mean", None),
        "std": getattr(experiment.data, "std", None),
        "sizes": sizes,
        "classes": script.classes,
        "big": sizes["test"] > TEST_AT_ONCE,
        "torchvision": torchvision[0] if torchvision else "",
        "folder": "data" if torchvision else getattr(experiment.data, "path", ""),
        "input_shape": model.input_shape,
        "layers": model.layers,
        "kinds": {type(layer).__name__ for layer in layers},
        "convolutional": any(isinstance(layer, contract.Conv2d) for layer in layers),
        "residual": any(isinstance(layer, contract.Residual) for layer in model.layers),
        "normalizes": any(isinstance(layer, contract.BatchNorm) for layer in layers),
        "skips_pixels": any(
            isinstance(layer, contract.Conv2d) and any(map(operator.gt, layer.stride, layer.kernel)) for layer in layers
        ),
        "optimizer": experiment.optimizer,
        "smoothing": experiment.label_smoothing,
        "initial": experiment.initial.weights,
        "spread": experiment.initial.spread,
        "rule": schedule,
        "warm_up": round(schedule.warm_up * steps_per_epoch) if schedule else 0,
        "steps_per_epoch": steps_per_epoch,
        "full_steps": full_steps,
        "last_batch": rest,
        "total_steps": steps_per_epoch * experiment.epochs,
        "window": timed_steps(full_steps),
    }


def _plain(text: str) -> str:
    """A text that can stand in a docstring."""
    readable = "".join(character if character.isprintable() else " " for character in text)
    return readable.replace("\\", "/").replace('"', "'")


def timed_steps(full_steps: int) -> int:
    """Steps of a window in which a script measures its speed: a short epoch, which is compiled already, or fewer."""
    return full_steps if full_steps <= 2 * WINDOW else WINDOW


def of_images(model: contract.Model) -> set[int]:
    """The layers that images enter, by ``id``."""
    found: set[int] = set()
    _walk(model.layers, len(model.input_shape) == 3, found)
    return found


def _walk(layers: Sequence[contract.Layer], images: bool, found: set[int]) -> bool:
    for layer in layers:
        if images:
            found.add(id(layer))
        if isinstance(layer, contract.Residual):
            _walk(layer.shortcut, images, found)
            images = _walk(layer.layers, images, found)
        images = images and not isinstance(layer, contract.Flatten | contract.GlobalAvgPool2d)
    return images


def _name(requirement: str) -> str:
    for index, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:index]
    return requirement


def formatted(program: str) -> str:
    """As ruff formats it, without imports that nothing uses."""
    ruff, program = find_ruff_bin(), re.sub(r"\n{3,}", "\n\n", program)
    sort, lay_out = ("check", "--select", "I,F401", "--fix", "--exit-zero"), ("format", f"--line-length={LINE_LENGTH}")
    for arguments in (sort, lay_out):
        command = [ruff, *arguments, "--quiet", "--isolated", "--stdin-filename", "script.py", "-"]
        program = subprocess.run(command, input=program, capture_output=True, text=True, check=True).stdout
    return program
