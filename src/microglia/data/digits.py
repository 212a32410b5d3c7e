"""Scikit-learn's 1,797 handwritten digits, 8x8, grey."""

import numpy as np
import torch

from microglia.data.extras import require
from microglia.data.images import Images

HELD_OUT = 30  # images of each class in the test split, and as many in the validation split


def load_digits(split: str) -> Images:
    """One part of the digits: uint8 [N, 1, 8, 8], 0 to 255.

    Of each class, 30 images are the test split, 30 the validation split, and the rest (1,197 in
    all) the training split, drawn once by a seeded permutation. All three are normalised by the
    training split. Source: UCI, Optical Recognition of Handwritten Digits, through scikit-learn.
    """
    digits = require("sklearn.datasets", to="load the digits").load_digits()
    # Sixteen grey levels, 0 to 16, spread over a byte.
    pixels = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    # RandomState's stream is frozen for good: the splits are the same with every NumPy.
    random = np.random.RandomState(0)
    of_class = [random.permutation(np.flatnonzero(digits.target == c)) for c in range(10)]
    borders = {
        "test": slice(0, HELD_OUT),
        "validation": slice(HELD_OUT, 2 * HELD_OUT),
        "train": slice(2 * HELD_OUT, None),
    }
    parts = {}
    for name, part in borders.items():
        rows = random.permutation(np.concatenate([of_class[c][part] for c in range(10)]))
        parts[name] = (pixels[rows], labels[rows])
    classes = tuple(str(label) for label in range(10))
    training = Images.measured(*parts["train"], classes)
    return Images(*parts[split], classes, training.mean, training.std)
