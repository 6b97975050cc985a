"""The tutorials that lockstep comes from, as programs of each framework, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backends.hosting import environments
from benchmarks.script.exact import rows_of
from benchmarks.script.rendering import Language, Script, render
from benchmarks.spec import experiment as experiments

FOLDER = "benchmarks/script/tutorials"
LANGUAGES: tuple[Language, ...] = ("en", "zh")
FRAMEWORKS = ("pytorch", "mindspore", "jax")
TUTORIALS = (
    *("linear-regression-from-scratch", "linear-regression-concise", "fashion-mnist-mlp", "mnist-mlp"),
    *("mnist-mlp-deep", "cifar10-cnn", "fashion-mnist-validation", "lenet5-mnist", "pytorch-mnist", "flax-mnist"),
)


def programs() -> Iterator[tuple[str, str]]:
    """Path from the repository's root, and text, of each program: in the first mode of its framework."""
    for name in TUTORIALS:
        experiment = experiments.load(experiments.find(name))
        classes = () if experiment.data.is_regression else tuple(map(str, range(experiment.data.outputs or 0)))
        for framework in FRAMEWORKS:
            backend = environments.find(framework)
            plain = Script(name, experiment, {}, classes, backend, next(iter(backend.modes)), threads=1)
            train, test = rows_of(plain)
            plain = replace(plain, sizes={"train": len(train), "test": len(test)})
            for language in LANGUAGES:
                path = Path(FOLDER) / language / f"{plain.stem}_{framework}.py"
                yield path.as_posix(), render(replace(plain, language=language)).replace(plain.file, path.name)
