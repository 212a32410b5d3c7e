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
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)).astype(np.int64))
    rows: dict[str, list[torch.Tensor]] = {"train": [], "validation": [], "test": []}
    for label in range(10):
        of_class = order[labels[order] == label]
        rows["test"].append(of_class[:HELD_OUT])
        rows["validation"].append(of_class[HELD_OUT : 2 * HELD_OUT])
        rows["train"].append(of_class[2 * HELD_OUT :])
    place = torch.argsort(order)  # back from class by class into the permutation's mixed order
    parts = {}
    for name, by_class in rows.items():
        chosen = torch.cat(by_class)
        chosen = chosen[place[chosen].argsort()]
        parts[name] = (pixels[chosen], labels[chosen])
    classes = tuple(str(label) for label in range(10))
    training = Images.measured(*parts["train"], classes)
    return Images(*parts[split], classes, training.mean, training.std)
