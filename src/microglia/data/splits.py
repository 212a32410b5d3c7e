"""Training, validation and test images that belong together."""

from dataclasses import dataclass
from pathlib import Path

import torch

from microglia.data.images import Images
from microglia.data.load import load_images
from microglia.errors import DataError

CIFAR10_VALIDATION = range(20_000, 22_000)  # training rows that choose, in every CIFAR-10 run


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint sets with the same classes, all normalised by the training set.

    ``validation`` is for choosing; ``test`` is for the final figure, once a run.
    """

    train: Images
    validation: Images
    test: Images


def load_splits(
    source: str | Path,
    *,
    train_rows: range | None = None,
    validation_rows: range | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
) -> Splits:
    """Load all three splits of a source (see `load_images`).

    ``validation_rows`` are rows of the training part; None takes the validation part that the
    source brings with it. ``train_rows`` None takes all the training rows that are left.

    Raises DataError where the two overlap, where the source has no validation part and no rows were
    given, and as `load_images` does.
    """

    def load(split: str, rows: range | None = None) -> Images:
        return load_images(
            source,
            split=split,
            rows=rows,
            image_column=image_column,
            label_column=label_column,
            size=size,
        )

    if validation_rows is None:
        train = load("train", train_rows)
        return Splits(train, load("validation").like(train), load("test").like(train))
    if train_rows is None:
        whole = load("train")
        kept = torch.ones(len(whole), dtype=torch.bool)
        validation = whole.subset(validation_rows)
        kept[torch.tensor(validation_rows)] = False
        left = whole.subset(kept.nonzero().flatten())
        train = Images.measured(left.images, left.labels, left.classes)
        return Splits(train, validation.like(train), load("test").like(train))
    shared = set(train_rows) & set(validation_rows)
    if shared:
        raise DataError(
            f"train_rows and validation_rows share {len(shared)} rows, the first is {min(shared)}"
        )
    train = load("train", train_rows)
    return Splits(train, load("train", validation_rows).like(train), load("test").like(train))
