"""The tutorials that lockstep comes from, as programs of each framework, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backends.hosting import environments
from benchmarks.script.rendering import Language, Script, render
from benchmarks.script.samples import rows_of
from benchmarks.spec import experiment as experiments
from tests.documents.figures import ROOT

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
        rows, classes = rows_of(experiment, ROOT)
        sizes = {part: len(chosen) for part, chosen in rows.items()}
        for framework in FRAMEWORKS:
            backend = environments.find(framework)
            mode = next(iter(backend.modes))
            for language in LANGUAGES:
                plain = Script(name, experiment, sizes, classes, backend, mode, threads=1, language=language)
                made = replace(plain, output=f"{plain.stem}_{framework}.py")
                yield f"{FOLDER}/{language}/{made.file}", render(made)
