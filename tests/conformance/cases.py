"""What the kit trains: six small models that between them hold every layer, both losses and every option of SGD.

The images are higher than wide and the kernels, strides and paddings differ, so that whatever is swapped shows. Data,
weights and batches are drawn at random from fixed seeds; nothing is learnt, and nothing has to be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from backends import contract
from backends.contract import SGD, AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Model, Parameters, ReLU, Tanh
from backends.float64.training import Training
from benchmarks.spec.model import initial_parameters
from results.proof.judge import Case

STEPS = 12
"""Full batches; after them come one short batch and one more full one."""

TRAINING_SAMPLES, TEST_SAMPLES = 150, 50

TEST_CHUNK = 32
"""So that the test set is predicted in a full and a short piece."""


@dataclass(frozen=True)
class Example:
    """One model with its loss and its SGD; ``last_batch`` is the size of the short batch."""

    name: str
    model: Model
    loss: contract.Loss
    sgd: SGD
    batch_size: int = 16
    last_batch: int = 7

    @property
    def layers(self) -> str:
        """For example "conv2d 3x3, relu, flatten, linear"."""
        return ", ".join(map(describe_layer, self.model.layers))

    @property
    def options(self) -> str:
        """For example "SGD with momentum 0.9, nesterov"."""
        momentum = [f"momentum {self.sgd.momentum}"] if self.sgd.momentum else []
        decay = [f"weight decay {self.sgd.weight_decay}"] if self.sgd.weight_decay else []
        options = [*momentum, *(["nesterov"] if self.sgd.nesterov else []), *decay]
        return f"SGD with {', '.join(options)}" if options else "plain SGD"


EXAMPLES = (
    Example(
        "rows",
        Model((7,), (Linear(7, 11), Tanh(), Linear(11, 9), ReLU(), Linear(9, 4))),
        "cross-entropy",
        SGD(0.1, 0.9, nesterov=False, weight_decay=0.0),
    ),
    Example(
        "regression",
        Model((6,), (Linear(6, 1),)),
        "mean-squared-error",
        SGD(0.05, 0.9, nesterov=True, weight_decay=0.0),
    ),
    Example(
        "decay",
        Model((5,), (Flatten(), Linear(5, 8), ReLU(), Linear(8, 3))),
        "cross-entropy",
        SGD(0.1, 0.0, nesterov=False, weight_decay=0.05),
    ),
    Example(
        "strides",
        Model(
            (3, 12, 9),
            (
                Conv2d(3, 6, 3, 1, 1),
                ReLU(),
                MaxPool2d(3, 2),  # 5 x 4: the windows overlap, and one row is left over
                Conv2d(6, 8, 3, 2, 1),
                Tanh(),
                AvgPool2d(2, 1),  # 2 x 1
                Flatten(),
                Linear(16, 5),
            ),
        ),
        "cross-entropy",
        SGD(0.05, 0.9, nesterov=False, weight_decay=0.02),
    ),
    Example(
        "paddings",
        Model(
            (2, 13, 11),
            (
                Conv2d(2, 5, 4, 1, 2),  # 14 x 12: an even kernel
                Tanh(),
                AvgPool2d(3, 2),  # 6 x 5: the windows overlap, and one row and column are left over
                Conv2d(5, 7, 2, 1, 0),
                ReLU(),
                MaxPool2d(2, 3),  # 2 x 1: gaps between the windows
                Flatten(),
                Linear(14, 3),
            ),
        ),
        "mean-squared-error",
        SGD(0.05, 0.9, nesterov=True, weight_decay=0.02),
    ),
    Example(
        "tutorial",
        Model(
            (3, 24, 24),
            (
                Conv2d(3, 8, 5, 1, 0),
                ReLU(),
                MaxPool2d(2, 2),
                Conv2d(8, 12, 5, 1, 0),
                ReLU(),
                AvgPool2d(2, 2),
                Flatten(),
                Linear(108, 32),
                ReLU(),
                Linear(32, 10),
            ),
        ),
        "cross-entropy",
        SGD(0.05, 0.0, nesterov=False, weight_decay=0.0),
        batch_size=32,
        last_batch=20,
    ),
)

THREADS = Example(
    "threads",
    Model((1024,), (Linear(1024, 1024), Linear(1024, 8))),
    "mean-squared-error",
    SGD(0.01, 0.0, nesterov=False, weight_decay=0.0),
    batch_size=128,
    last_batch=20,
)
"""Products large enough to be shared among threads; it is watched, not judged."""

_SAME = Conv2d(1, 1, 1, 1, 0)

LAYERS_ALONE = {
    "linear": Model((16,), (Linear(16, 4),)),
    "conv2d": Model((1, 4, 4), (Conv2d(1, 2, 3, 1, 1), Flatten())),
    "relu": Model((1, 4, 4), (_SAME, ReLU(), Flatten())),
    "tanh": Model((1, 4, 4), (_SAME, Tanh(), Flatten())),
    "max_pool2d": Model((1, 4, 4), (_SAME, MaxPool2d(2, 2), Flatten())),
    "avg_pool2d": Model((1, 4, 4), (_SAME, AvgPool2d(2, 2), Flatten())),
}
"""Every layer with as little as possible beside it: a model without parameters is none that can be trained."""

ODD_VALUES = {"not-a-number": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "subnormal numbers": 1e-40}

ODD_PLACES = (0, 3, 12, 15)
"""The corners of the image: each is at another place of the window of a pool that it is in."""

SPEED = Example(
    "speed",
    Model((256,), (Linear(256, 384), ReLU(), Linear(384, 384), ReLU(), Linear(384, 10))),
    "cross-entropy",
    SGD(0.01, 0.9, nesterov=False, weight_decay=0.0),
    batch_size=64,
    last_batch=20,
)
"""Large enough for milliseconds per step; it is timed, not judged."""


def describe_layer(layer: contract.Layer) -> str:
    """For example "conv2d 3x3 stride 2 padding 1"."""
    name = next(name for name, kind in contract.LAYERS.items() if isinstance(layer, kind))
    match layer:
        case Conv2d(_, _, kernel, stride, padding):
            return f"{name} {kernel}x{kernel} stride {stride} padding {padding}"
        case MaxPool2d(kernel, stride) | AvgPool2d(kernel, stride):
            return f"{name} {kernel}x{kernel} stride {stride}"
    return name


def first_layers(example: Example, count: int) -> Example:
    """The first layers of a model as a model of its own, to find the one that is wrong."""
    return replace(
        example,
        name=f"{example.name}, {count} layers",
        model=Model(example.model.input_shape, (*example.model.layers[:count], Flatten())),
        loss="mean-squared-error",
    )


@dataclass(frozen=True)
class Files:
    """An example's arrays: as the judge takes them, and as the files that workers map into memory."""

    example: Example
    case: Case
    folder: Path


def write(example: Example, folder: Path, parameters: Parameters | None = None) -> Files:
    """Draw the data, the weights and the batches of an example, and write them into ``folder``."""
    folder.mkdir()
    parameters = parameters or initial_parameters(example.model, np.random.default_rng(1))
    sample = np.zeros((1, *example.model.input_shape), np.float32)
    outputs = Training(example.model, example.loss, example.sgd, parameters).logits(sample).shape[1]
    arrays: dict[str, NDArray[np.generic]] = {}
    generator = np.random.default_rng(2)
    for split, samples in (("train", TRAINING_SAMPLES), ("test", TEST_SAMPLES)):
        arrays[f"{split}_features"] = generator.normal(size=(samples, *example.model.input_shape)).astype(np.float32)
        if example.loss == "cross-entropy":
            arrays[f"{split}_labels"] = generator.integers(0, outputs, samples).astype(np.int32)
        else:
            arrays[f"{split}_labels"] = generator.normal(size=(samples, outputs)).astype(np.float32)
    order = np.stack([generator.permutation(TRAINING_SAMPLES) for _ in range(STEPS + 1)]).astype(np.int64)
    arrays["batches"] = order[:STEPS, : example.batch_size]
    arrays["last_batches"] = order[STEPS:, : example.last_batch]
    save_file(parameters, folder / "parameters.safetensors")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    rows = [*order[:STEPS, : example.batch_size], order[STEPS, : example.last_batch], order[0, : example.batch_size]]
    case = Case(
        model=example.model,
        loss=example.loss,
        sgd=example.sgd,
        initial=parameters,
        features=arrays["train_features"],  # type: ignore[arg-type]
        labels=arrays["train_labels"],
        batches=rows,
        steps=len(rows),
        judged_features=arrays["test_features"],  # type: ignore[arg-type]
        judged_labels=arrays["test_labels"],
        precision="float32",
    )
    return Files(example, case, folder)


def write_ties(example: Example, folder: Path) -> Files:
    """The same with weights that have all elements equal that a max pool chooses from, to the bit: all of them tie.

    The convolution before the pool sees nothing but zeros, or has no weights but zeros, and adds a bias that a ReLU
    lets through. Which element has the gradient is seen in that of the first weights, as the images differ by place.
    """
    layers = example.model.layers
    before = layers[: next(place for place, layer in enumerate(layers) if isinstance(layer, MaxPool2d))]
    convolutions = [place for place, layer in enumerate(before) if isinstance(layer, Conv2d)]
    first, last = convolutions[0], convolutions[-1]
    parameters = initial_parameters(example.model, np.random.default_rng(1))
    for part in ("weight", "bias"):
        parameters[f"{first}.{part}"] = np.zeros_like(parameters[f"{first}.{part}"])
    parameters[f"{last}.bias"] = np.abs(parameters[f"{last}.bias"]) + np.float32(0.1)
    return write(replace(example, name=f"ties in {example.name}"), folder, parameters)


def write_odd(layer: str, folder: Path) -> Files:
    """A layer alone, with weights of one and no bias, and a sample for each kind of odd values."""
    model = LAYERS_ALONE[layer]
    drawn = initial_parameters(model, np.random.default_rng(1))
    parameters = {name: np.full_like(values, float(name.endswith("weight"))) for name, values in drawn.items()}
    files = write(Example(layer, model, "mean-squared-error", THREADS.sgd), folder, parameters)
    features = np.ones((len(ODD_VALUES), *model.input_shape), np.float32)
    for sample, value in zip(features, ODD_VALUES.values(), strict=True):
        places = ODD_PLACES if not abs(value) < 1 else range(sample.size)  # beside ones, sums lose what is so small
        sample.flat[list(places)] = value
    labels = files.case.judged_labels[: len(features)]
    for name, array in (("features", features), ("labels", labels)):
        np.save(folder / f"test_{name}.npy", array)
    return replace(files, case=replace(files.case, judged_features=features, judged_labels=labels))
