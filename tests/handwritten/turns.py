"""The part that is common to the loops here: what they are asked for, and when it is their turn.

A loop's process trains a call, which compiles, and answers with its number of parameters and its last loss, on a
channel of its own, because frameworks print to stdout. Then, for every line on stdin, a number, it trains so many calls
of the steps that it was started with, and answers with the seconds that this took and the last loss. By hand, from the
repository's root, with an experiment's files: ``echo 10 |
PYTHON -m tests.handwritten.pytorch_loops eager mlp 50
FEATURES.npy LABELS.npy WEIGHTS.safetensors BATCHES.npy RATES.npy``
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Batches = TypeVar("Batches")
Handle = TypeVar("Handle")


def asked() -> argparse.Namespace:
    """Read the command line: which model and mode, steps per call, lockstep's files, and the channel.

    From here on the process ends with its parent, also while it is stopped (Linux only).
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("model", choices=["mlp", "cnn", "lenet", "resnet"])
    parser.add_argument("steps", type=int, help="steps of each call")
    parser.add_argument("features", help="float32 [n, channels, height, width], a .npy file")
    parser.add_argument("labels", help="int32 [n], a .npy file")
    parser.add_argument("weights", help="what training starts from, in PyTorch's names and layout, a .safetensors file")
    parser.add_argument("order", help="sample indices of all batches, int64 [steps, batch size], a .npy file")
    parser.add_argument("rates", help="learning rates of all batches, float32 [steps], a .npy file")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("channel", type=int, nargs="?", default=1, help="file descriptor to answer on")
    return parser.parse_args()


def batches_of(order: Path, steps: int) -> Iterator[NDArray[Any]]:
    """Go through the order, or the rates, again and again, so many steps at a time: ``[steps, ...]`` as in the file."""
    rows = np.load(order)
    for start in count(step=steps):
        yield rows[np.arange(start, start + steps) % len(rows)]


def as_pictures(features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale to 0..255, which is how data sets of pictures come: uint8 of the same shape."""
    pictures: NDArray[np.uint8] = np.rint(255 * features / features.max()).astype(np.uint8)
    return pictures


def take_turns(
    channel: int,
    parameters: int,
    calls: Iterator[Batches],
    train: Callable[[Batches], Handle],
    synchronize: Callable[[Handle], float],
) -> None:
    """Answer on the channel until stdin ends.

    ``calls`` gives what ``train`` takes for each of its calls, and that before the clock starts: what is timed is the
    training. ``synchronize`` waits for all work, and returns the last loss.
    """
    with open(channel, "w") as answers:
        print(parameters, synchronize(train(next(calls))), file=answers, flush=True)
        for line in sys.stdin:
            asked_for = list(islice(calls, int(line)))
            begin = time.perf_counter()
            for batches in asked_for:
                handle = train(batches)
            loss = synchronize(handle)
            print(time.perf_counter() - begin, loss, file=answers, flush=True)
