"""The data of the classification tasks, as sequences of values."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from microglia.data import Images, load_images, load_splits
from microglia.data.encode import poisson
from microglia.data.sequences import load_sequences
from microglia.data.splits import CIFAR10_VALIDATION
from microglia.errors import DataError
from microglia.tasks.classify import Labelled, Part

Array = NDArray[Any]

HELD_OUT = 0.25
"""Of each class of a sequence set's training part, the sequences that choose penalties."""
CIFAR10_ROWS = range(10_000)
FILTERS, PATCH, STRIDE, GRID = 16, 5, 3, 2
"""Of the random encoder: filters of PATCH², every STRIDE pixels, averaged in GRID² fields."""
STEPS = 50
"""For which an encoded image is shown, with a spike or none in each channel."""


@cache
def digit_rows() -> Labelled:
    """Digits, row by row from the top: [n, 8, 8], grey values in [0, 1]."""
    splits = load_splits("digits")
    return Labelled(_rows(splits.train), _rows(splits.validation), _rows(splits.test), 10)


def _rows(part: Images) -> Part:
    values = part.images[:, 0].numpy() / 255.0
    return _part(values, part.labels.numpy())


@cache
def labelled_sequences(name: str) -> Labelled:
    """A file of `sequences/`, scaled by its training part, of which a quarter validates."""
    train = load_sequences(f"sequences/{name}.npz", split="train")
    test = load_sequences(f"sequences/{name}.npz", split="test").scaled_like(train)
    values, lengths, labels = (
        np.asarray(array)
        for array in (train.scaled_like(train).values, train.lengths, train.labels)
    )
    held = held_out(labels, HELD_OUT)
    return Labelled(
        Part(values[~held], lengths[~held], labels[~held]),
        Part(values[held], lengths[held], labels[held]),
        Part(*(np.asarray(array) for array in (test.values, test.lengths, test.labels))),
        len(train.classes),
    )


def held_out(labels: Array, share: float, *, seed: int = 0) -> Array:
    """Which samples validate, boolean [n]: a share of each class, at least one.

    Raises:
        DataError: a class of which none would be left to learn from.
    """
    random = np.random.RandomState(seed)  # its stream is frozen for good
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        count = max(1, round(share * len(mine)))
        if count == len(mine):
            raise DataError(f"class {label}: {count} samples are too few to learn and to choose by")
        held[mine[:count]] = True
    return held


@cache
def cifar10_rates() -> Labelled:
    """CIFAR-10's first rows through a random convolution, as spikes [n, STEPS, 64].

    Filters N(0, 1), rectified, averaged; a channel's rate is its value over the training part's
    99th percentile, at most 1, and at each step it fires with half of that probability.
    """
    parts = [
        load_images("cifar10", split="train", rows=CIFAR10_ROWS),
        load_images("cifar10", split="train", rows=CIFAR10_VALIDATION),
        load_images("cifar10", split="test"),
    ]
    filters = torch.randn(FILTERS, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(0))
    encoded = [_encoded(part.like(parts[0]), filters) for part in parts]
    highest = encoded[0].quantile(0.99, dim=0).clamp(min=1e-9)
    generator = torch.Generator().manual_seed(1)
    found = []
    for values, part in zip(encoded, parts, strict=True):
        spikes = poisson(0.5 * (values / highest).clamp(0, 1), STEPS, generator).bool()
        found.append(_part(spikes.transpose(0, 1).numpy(), part.labels.numpy()))
    train, validation, test = found
    return Labelled(train, validation, test, 10)


def _encoded(part: Images, filters: Tensor) -> Tensor:
    """[n, FILTERS · GRID²]."""
    values = []
    for some in part.images.split(1000):
        images = (some / 255 - _channels(part.mean)) / _channels(part.std)
        maps = functional.conv2d(images, filters, stride=STRIDE).relu()
        values.append(functional.adaptive_avg_pool2d(maps, GRID).flatten(1))
    return torch.cat(values)


def _channels(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


def _part(values: Array, labels: Array) -> Part:
    return Part(values, np.full(len(values), values.shape[1]), labels)
