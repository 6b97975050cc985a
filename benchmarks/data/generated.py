"""Data sets that are computed from a seed."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.source import Samples, Source
from benchmarks.spec.data import GeneratedImages, LinearRegression

# Second word of every seed sequence, so that no two things are drawn from the same stream.
PATTERN, TRAIN, TEST = 0, 1, 2
WAVES = 4


def generate_linear_regression(spec: LinearRegression) -> Source:
    """Return ``y = x . weights + bias + noise``: x float32 ``[n, features]`` from N(0, 1), y float32 ``[n, 1]``."""
    return Source(
        train=_line(spec, TRAIN, spec.samples),
        test=_line(spec, TEST, spec.test_samples),
        classes=(),
        place=f"generated from seed {spec.seed}",
    )


def _line(spec: LinearRegression, stream: int, samples: int) -> Samples:
    random = np.random.default_rng([spec.seed, stream])
    features = random.standard_normal((samples, len(spec.weights))).astype(np.float32)
    exact = (features * np.array(spec.weights)).sum(axis=1) + spec.bias
    targets = exact + spec.noise * random.standard_normal(samples)
    return Samples(labels=targets.astype(np.float32)[:, np.newaxis], rows=features.__getitem__)


def generate_images(spec: GeneratedImages) -> Source:
    """Return noisy copies of one smooth pattern per class: pixels uint8 ``[n, *shape]``, classes in turn."""
    patterns = np.stack([_pattern(spec, label) for label in range(spec.classes)])
    return Source(
        train=_noisy(spec, patterns, TRAIN, spec.samples),
        test=_noisy(spec, patterns, TEST, spec.test_samples),
        classes=tuple(str(label) for label in range(spec.classes)),
        place=f"generated from seed {spec.seed}",
    )


def _pattern(spec: GeneratedImages, label: int) -> NDArray[np.float32]:
    """A few long waves per channel, in random directions: float32 ``shape``, within 0.1 to 0.9."""
    channels, height, width = spec.shape
    random = np.random.default_rng([spec.seed, PATTERN, label])
    down = np.arange(height)[:, np.newaxis] / height
    right = np.arange(width) / width
    waves = np.zeros(spec.shape)
    for channel in range(channels):
        for per_height, per_width, phase in random.uniform((-2, -2, 0), (2, 2, 1), (WAVES, 3)):
            waves[channel] += np.cos(2 * np.pi * (per_height * down + per_width * right + phase))
    return (0.5 + 0.4 * waves / WAVES).astype(np.float32)


def _noisy(spec: GeneratedImages, patterns: NDArray[np.float32], stream: int, samples: int) -> Samples:
    labels = (np.arange(samples) % spec.classes).astype(np.int32)

    def rows(chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = np.empty((len(chosen), *spec.shape), dtype=np.uint8)
        for image, sample in zip(images, chosen, strict=True):
            # A stream per sample: its pixels do not depend on which other samples are asked for, or when.
            random = np.random.default_rng([spec.seed, stream, int(sample)])
            noise = random.standard_normal(spec.shape, dtype=np.float32)
            pixels = patterns[labels[sample]] + np.float32(spec.noise) * noise
            image[...] = np.rint(255 * pixels.clip(0, 1))
        return images

    return Samples(labels=labels, rows=rows)
