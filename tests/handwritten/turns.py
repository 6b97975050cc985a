"""The part that is common to the loops here: what they are asked for, and when it is their turn.

A loop's process says "ready", with its number of parameters, on a channel of its own, because frameworks print to
stdout. Then, for every line on stdin, a number, it trains so many times the steps that it was started with, and answers
with the seconds that this took and the last loss. By hand, from the repository's root:
``echo 10 | PYTHON -m tests.handwritten.pytorch_loops eager mlp 50 FEATURES.npy LABELS.npy``
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 64

Batches = TypeVar("Batches")
Handle = TypeVar("Handle")


def asked() -> argparse.Namespace:
    """Read the command line: which model and mode, steps per call, the data's ``.npy`` files, and the channel.

    From here on the process ends with its parent, also while it is stopped (Linux only).
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("model", choices=["mlp", "cnn"])
    parser.add_argument("steps", type=int, help="steps of each call")
    parser.add_argument("features", help="float32 [n, channels, height, width], a .npy file")
    parser.add_argument("labels", help="int32 [n], a .npy file")
    parser.add_argument("channel", type=int, nargs="?", default=1, help="file descriptor to answer on")
    return parser.parse_args()


def draw_batches(samples: int, steps: int) -> NDArray[np.int64]:
    """Cut random permutations of the samples into batches: sample indices, int64 ``[steps, batch size]``."""
    random = np.random.default_rng()
    per_epoch = samples // BATCH_SIZE
    epochs = [random.permutation(samples)[: per_epoch * BATCH_SIZE] for _ in range(-(-steps // per_epoch))]
    return np.concatenate(epochs).reshape(-1, BATCH_SIZE)[:steps]


def as_pictures(features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale to 0..255, which is how data sets of pictures come: uint8 of the same shape."""
    pictures: NDArray[np.uint8] = np.rint(255 * features / features.max()).astype(np.uint8)
    return pictures


def take_turns(
    channel: int,
    parameters: int,
    draw: Callable[[], Batches],
    train: Callable[[Batches], Handle],
    synchronize: Callable[[Handle], float],
) -> None:
    """Answer on the channel until stdin ends.

    ``train`` takes the batches of one call; ``synchronize`` waits for all work, and returns the last loss. The batches
    are drawn before the clock starts: what is timed is the training.
    """
    synchronize(train(draw()))  # compiles
    with open(channel, "w") as answers:
        print("ready", parameters, file=answers, flush=True)
        for line in sys.stdin:
            calls = [draw() for _ in range(int(line))]
            begin = time.perf_counter()
            for batches in calls:
                handle = train(batches)
            loss = synchronize(handle)
            print(time.perf_counter() - begin, loss, file=answers, flush=True)
