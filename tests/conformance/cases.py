"""What the kit trains: small models that between them hold every layer, both losses and every option of optimizers.

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
from backends.contract import (
    GELU,
    SGD,
    Adam,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Model,
    Optimizer,
    Parameters,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from backends.float64.training import Training
from benchmarks.spec.initial import initial_parameters
from results.proof.judge import Case

STEPS = 12
"""Full batches; after them come one short batch and one more full one."""

TRAINING_SAMPLES, TEST_SAMPLES = 150, 50

TEST_CHUNK = 32
"""So that the test set is predicted in a full and a short piece."""


@dataclass(frozen=True)
class Example:
    """One model with its loss and its optimizer; ``last_batch`` is the size of the short batch.

    If it is ``scheduled``, each step has a learning rate of its own.
    """

    name: str
    model: Model
    loss: contract.Loss
    optimizer: Optimizer
    batch_size: int = 16
    last_batch: int = 7
    label_smoothing: float = 0.0
    scheduled: bool = False

    @property
    def layers(self) -> str:
        """For example "conv2d 3x3, relu, flatten, linear"."""
        return ", ".join(map(describe_layer, self.model.layers))

    @property
    def options(self) -> str:
        """For example "SGD with momentum 0.9, nesterov"."""
        optimizer, options = self.optimizer, []
        if isinstance(optimizer, SGD):
            name = "SGD"
            options += [f"momentum {optimizer.momentum}"] if optimizer.momentum else []
            options += ["nesterov"] if optimizer.nesterov else []
        else:
            name = "AdamW" if optimizer.decoupled else "Adam"
        options += [f"weight decay {optimizer.weight_decay}"] if optimizer.weight_decay else []
        options += [f"gradients clipped at {optimizer.clip_norm}"] if optimizer.clip_norm else []
        options += [f"labels smoothed by {self.label_smoothing}"] if self.label_smoothing else []
        options += ["a rate for each step"] if self.scheduled else []
        return f"{name} with {', '.join(options)}" if options else f"plain {name}"


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
                Conv2d(3, 6, (3, 3), (1, 1), (1, 1)),
                ReLU(),
                MaxPool2d((3, 3), (2, 2)),  # 5 x 4: the windows overlap, and one row is left over
                Conv2d(6, 8, (3, 3), (2, 2), (1, 1)),
                Tanh(),
                AvgPool2d((2, 2), (1, 1)),  # 2 x 1
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
                Conv2d(2, 5, (4, 4), (1, 1), (2, 2)),  # 14 x 12: an even kernel
                Tanh(),
                AvgPool2d((3, 3), (2, 2)),  # 6 x 5: the windows overlap, and one row and column are left over
                Conv2d(5, 7, (2, 2), (1, 1), (0, 0)),
                ReLU(),
                MaxPool2d((2, 2), (3, 3)),  # 2 x 1: gaps between the windows
                Flatten(),
                Linear(14, 3),
            ),
        ),
        "mean-squared-error",
        SGD(0.05, 0.9, nesterov=True, weight_decay=0.02),
    ),
    Example(
        "features",
        Model(
            (7,),
            (
                Linear(7, 11, bias=False),
                BatchNorm(11, 0.3, 1e-3),
                GELU(tanh=False),
                Linear(11, 9),
                GELU(tanh=True),
                Linear(9, 8),
                Softplus(),
                Linear(8, 4),
            ),
        ),
        "cross-entropy",
        Adam(0.01, 0.9, 0.99, 1e-6, weight_decay=0.03, decoupled=False, clip_norm=0.3),
        label_smoothing=0.1,
    ),
    Example(
        "channels",
        Model(
            (2, 9, 8),
            (
                Conv2d(2, 6, (3, 3), (1, 1), (1, 1), bias=False),
                BatchNorm(6, 0.1, 1e-5),
                LeakyReLU(0.1),
                MaxPool2d((3, 3), (2, 2), (1, 1)),  # 5 x 4
                Conv2d(6, 6, (3, 2), (1, 2), (1, 0), groups=6),  # 5 x 2: depthwise
                BatchNorm(6, 0.3, 1e-3),
                SiLU(),
                GlobalAvgPool2d(),
                Linear(6, 4),
            ),
        ),
        "cross-entropy",
        SGD(0.05, 0.9, nesterov=True, weight_decay=0.02, clip_norm=0.5),
        scheduled=True,
    ),
    Example(
        "blocks",
        Model(
            (3, 11, 8),
            (
                Conv2d(3, 4, (3, 3), (1, 1), (1, 1)),
                Residual(
                    (
                        Conv2d(4, 8, (3, 3), (2, 2), (1, 1), bias=False),  # 6 x 4
                        BatchNorm(8, 0.1, 1e-5),
                        ReLU(),
                        Conv2d(8, 8, (3, 3), (1, 1), (1, 1), bias=False),
                        BatchNorm(8, 0.1, 1e-5),
                    ),
                    (Conv2d(4, 8, (1, 1), (2, 2), (0, 0)), BatchNorm(8, 0.1, 1e-5)),
                ),
                ReLU(),
                Residual((Conv2d(8, 8, (1, 3), (1, 1), (0, 1), groups=2), Residual((Sigmoid(),)))),
                AvgPool2d((2, 2), (2, 2), (1, 1)),  # 4 x 3
                Flatten(),
                Linear(96, 5),
            ),
        ),
        "cross-entropy",
        Adam(0.005, 0.8, 0.95, 1e-4, weight_decay=0.5, decoupled=True),
        scheduled=True,
    ),
    Example(
        "tutorial",
        Model(
            (3, 24, 24),
            (
                Conv2d(3, 8, (5, 5), (1, 1), (0, 0)),
                ReLU(),
                MaxPool2d((2, 2), (2, 2)),
                Conv2d(8, 12, (5, 5), (1, 1), (0, 0)),
                ReLU(),
                AvgPool2d((2, 2), (2, 2)),
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

_SAME = Conv2d(1, 1, (1, 1), (1, 1), (0, 0))

LAYERS_ALONE = {
    "linear": Model((16,), (Linear(16, 4),)),
    "conv2d": Model((1, 4, 4), (Conv2d(1, 2, (3, 3), (1, 1), (1, 1)), Flatten())),
    "relu": Model((1, 4, 4), (_SAME, ReLU(), Flatten())),
    "tanh": Model((1, 4, 4), (_SAME, Tanh(), Flatten())),
    "max_pool2d": Model((1, 4, 4), (_SAME, MaxPool2d((2, 2), (2, 2)), Flatten())),
    "avg_pool2d": Model((1, 4, 4), (_SAME, AvgPool2d((2, 2), (2, 2)), Flatten())),
    "global_avg_pool2d": Model((1, 4, 4), (_SAME, GlobalAvgPool2d())),
    "batch_norm": Model((1, 4, 4), (_SAME, BatchNorm(1, 0.1, 1e-5), Flatten())),
    "leaky_relu": Model((1, 4, 4), (_SAME, LeakyReLU(0.1), Flatten())),
    "sigmoid": Model((1, 4, 4), (_SAME, Sigmoid(), Flatten())),
    "silu": Model((1, 4, 4), (_SAME, SiLU(), Flatten())),
    "gelu": Model((1, 4, 4), (_SAME, GELU(tanh=False), Flatten())),
    "softplus": Model((1, 4, 4), (_SAME, Softplus(), Flatten())),
    "residual": Model((1, 4, 4), (Residual((_SAME,)), Flatten())),
}
"""Every layer with as little as possible beside it: a model without parameters is none that can be trained."""

NORMALIZATION = {"weight": (0.5, 1.5), "bias": (-0.5, 0.5), "running_mean": (-0.5, 0.5), "running_var": (0.5, 1.5)}
"""Between what the parameters of a batch normalization are drawn."""

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
        case Conv2d():
            groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
            return f"{name} {_window(layer)}{groups}{'' if layer.bias else ' without bias'}"
        case MaxPool2d() | AvgPool2d():
            return f"{name} {_window(layer)}"
        case LeakyReLU(slope):
            return f"{name} {slope}"
        case GELU(tanh):
            return f"{name} by {'tanh' if tanh else 'erf'}"
    return name


def _window(layer: Conv2d | contract.Pool) -> str:
    """For example "3x3 stride 2 padding 1x0": one number for two sides that are the same."""
    height, width = layer.kernel
    texts = [f"{height}x{width}"]
    for name, sides in (("stride", layer.stride), ("padding", layer.padding)):
        one = set(sides)
        if sides != {"stride": (1, 1), "padding": (0, 0)}[name]:
            texts.append(f"{name} {sides[0] if len(one) == 1 else f'{sides[0]}x{sides[1]}'}")
    return " ".join(texts)


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
    parameters = parameters or draw_parameters(example.model)
    sample = np.zeros((1, *example.model.input_shape), np.float32)
    outputs = Training(example.model, example.loss, example.optimizer, parameters).logits(sample).shape[1]
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
    rates = (example.optimizer.learning_rate * np.linspace(1, 0.4, STEPS + 1)).astype(np.float32)
    if example.scheduled:
        arrays["rates"], arrays["last_rates"] = rates[:STEPS], rates[STEPS:]
    save_file(parameters, folder / "parameters.safetensors")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    rows = [*order[:STEPS, : example.batch_size], order[STEPS, : example.last_batch], order[0, : example.batch_size]]
    case = Case(
        model=example.model,
        loss=example.loss,
        optimizer=example.optimizer,
        initial=parameters,
        features=arrays["train_features"],  # type: ignore[arg-type]
        labels=arrays["train_labels"],
        batches=rows,
        steps=len(rows),
        judged_features=arrays["test_features"],  # type: ignore[arg-type]
        judged_labels=arrays["test_labels"],
        precision="float32",
        label_smoothing=example.label_smoothing,
        rates=np.append(rates, rates[0]) if example.scheduled else None,
    )
    return Files(example, case, folder)


def draw_parameters(model: Model) -> Parameters:
    """Draw weights as an experiment does; those of batch normalization, which begin alike, at random as well."""
    parameters = initial_parameters(model, np.random.default_rng(1))
    generator = np.random.default_rng(3)
    for name, layer in contract.named_layers(model.layers):
        if isinstance(layer, BatchNorm):
            for part, (low, high) in NORMALIZATION.items():
                drawn = generator.uniform(low, high, layer.channels)
                parameters[f"{name}.{part}"] = drawn.astype(np.float32)
    return parameters


def write_ties(example: Example, folder: Path) -> Files:
    """The same with weights that have all elements equal that a max pool chooses from, to the bit: all of them tie.

    The convolution before the pool sees nothing but zeros, or has no weights but zeros, and adds a bias that a ReLU
    lets through. Which element has the gradient is seen in that of the first weights, as the images differ by place.
    """
    layers = example.model.layers
    before = layers[: next(place for place, layer in enumerate(layers) if isinstance(layer, MaxPool2d))]
    convolutions = [place for place, layer in enumerate(before) if isinstance(layer, Conv2d)]
    first, last = convolutions[0], convolutions[-1]
    parameters = draw_parameters(example.model)
    for part in ("weight", "bias"):
        parameters[f"{first}.{part}"] = np.zeros_like(parameters[f"{first}.{part}"])
    parameters[f"{last}.bias"] = np.abs(parameters[f"{last}.bias"]) + np.float32(0.1)
    return write(replace(example, name=f"ties in {example.name}"), folder, parameters)


def write_odd(layer: str, folder: Path) -> Files:
    """A layer alone, with weights of one and no bias, and a sample for each kind of odd values."""
    model = LAYERS_ALONE[layer]
    drawn = initial_parameters(model, np.random.default_rng(1))
    ones = ("weight", "running_var")
    parameters = {name: np.full_like(values, float(name.endswith(ones))) for name, values in drawn.items()}
    files = write(Example(layer, model, "mean-squared-error", THREADS.optimizer), folder, parameters)
    features = np.ones((len(ODD_VALUES), *model.input_shape), np.float32)
    for sample, value in zip(features, ODD_VALUES.values(), strict=True):
        places = ODD_PLACES if not abs(value) < 1 else range(sample.size)  # beside ones, sums lose what is so small
        sample.flat[list(places)] = value
    labels = files.case.judged_labels[: len(features)]
    for name, array in (("features", features), ("labels", labels)):
        np.save(folder / f"test_{name}.npy", array)
    return replace(files, case=replace(files.case, judged_features=features, judged_labels=labels))
