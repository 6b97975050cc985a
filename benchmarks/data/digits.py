"""The handwritten digits that come with scikit-learn: real data without a download."""

import numpy as np

from benchmarks.data.source import Samples, Source, stratified_split


def read_digits() -> Source:
    """Return the digits: pixels uint8 ``[n, 1, 8, 8]`` in 0..16, a fixed fifth of each class as the test set."""
    from sklearn.datasets import load_digits  # takes a second, and most commands do not need it

    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, np.newaxis]
    labels = digits.target.astype(np.int32)
    train, test = (
        Samples(labels=labels[chosen], rows=images[chosen].__getitem__) for chosen in stratified_split(labels)
    )
    classes = tuple(str(digit) for digit in digits.target_names)
    return Source(train=train, test=test, classes=classes, place="scikit-learn's own")
