"""Training, validation and test images that belong together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from microglia.data.cache import ROWS_OR_SIZE
from microglia.data.events import SplitBy
from microglia.data.images import Images
from microglia.data.load import load_images
from microglia.data.rows import Rows, as_range
from microglia.errors import ConfigError, DataError, memory_for

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
    train_rows: Rows | None = None,
    validation_rows: Rows | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
    T: int | None = None,
    split_by: SplitBy = "time",
    validation_share: float | None = None,
) -> Splits:
    """Load all three splits of a source (see `load_images`).

    ``validation_rows`` are rows of the training part; None takes the validation part that the
    source brings with it. ``train_rows`` None takes all the training rows that are left. Both are
    ranges, or (first, end).
    ``validation_share`` takes, instead of rows, the last part of each class: for sources in the
    order of recording, where neighbours are nearly the same and a random part would show nothing.

    Raises ConfigError for a share out of range or beside rows, and for rows of another kind;
    DataError where rows overlap, where the source has no validation part and none was chosen, and
    as `load_images` does; TrainingError where memory runs out.
    """
    chosen = as_range(train_rows, setting="train_rows")
    held_out = as_range(validation_rows, setting="validation_rows")

    def load(split: str, rows: range | None = None) -> Images:
        return load_images(
            source,
            split=split,
            rows=rows,
            image_column=image_column,
            label_column=label_column,
            size=size,
            T=T,
            split_by=split_by,
        )

    with memory_for(f"loading {source}", lower=ROWS_OR_SIZE):
        found = _load(load, chosen, held_out, validation_share)
    empty = sorted(set(range(len(found.train.classes))) - set(found.train.labels.unique().tolist()))
    if empty:
        raise DataError(
            f"{source}: the class '{found.train.classes[empty[0]]}' has no sample among those that "
            "train; take more rows"
        )
    return found


def _load(
    load: Callable[..., Images],
    train_rows: range | None,
    validation_rows: range | None,
    validation_share: float | None,
) -> Splits:
    if validation_share is not None:
        if train_rows is not None or validation_rows is not None:
            raise ConfigError("validation_share: takes the place of train_rows and validation_rows")
        whole = load("train")
        last = _last_of_each_class(whole.labels, validation_share)
        return _split(whole, last, load("test"))
    if validation_rows is None:
        held = load("validation")  # first: most sources bring none
        train = load("train", train_rows)
        return Splits(train, held.like(train), load("test").like(train))
    if train_rows is None:
        whole = load("train")
        whole.subset(validation_rows)  # refuses rows that there are not
        chosen = torch.zeros(len(whole), dtype=torch.bool)
        chosen[torch.tensor(validation_rows)] = True
        return _split(whole, chosen, load("test"))
    shared = set(train_rows) & set(validation_rows)
    if shared:
        raise DataError(
            f"train_rows and validation_rows share {len(shared)} rows, the first is {min(shared)}"
        )
    train = load("train", train_rows)
    return Splits(train, load("train", validation_rows).like(train), load("test").like(train))


def _split(whole: Images, chosen: Tensor, test: Images) -> Splits:
    """The chosen images validate, the others train."""
    left = whole.subset((~chosen).nonzero().flatten())
    train = left if left.frames else Images.measured(left.images, left.labels, left.classes)
    held = whole.subset(chosen.nonzero().flatten())
    return Splits(train, held.like(train), test.like(train))


def _last_of_each_class(labels: Tensor, share: float) -> Tensor:
    """Which images are the last `share` of their class: boolean [N], one a class at least."""
    if not 0 < share < 1:
        raise ConfigError(f"validation_share: wanted a fraction in (0, 1), got {share}")
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        mine = (labels == label).nonzero().flatten()
        count = max(1, round(share * len(mine)))
        if count == len(mine):
            raise DataError(
                f"validation_share: class {int(label)} has {count} samples, and none would be left "
                "to train on"
            )
        chosen[mine[-count:]] = True
    return chosen
