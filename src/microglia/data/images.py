"""A labelled set of images in memory."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microglia.errors import DataError


@dataclass(frozen=True, eq=False)
class Images:
    """Images as they were stored, with what is needed to normalise them.

    ``images``: uint8 [N, C, H, W], or frames of events, [N, T, C, H, W]; ``labels``: int64 [N],
    positions in ``classes``; ``mean`` and ``std``: of each channel, for pixels scaled to [0, 1].

    Raises DataError where these don't fit together, where a label lies outside the classes, and
    where there is no image.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() not in (4, 5):
            raise DataError(
                "images: uint8 [N, C, H, W] or [N, T, C, H, W] expected, "
                f"got {self.images.dtype} {list(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels: int64 [{len(self.images)}] expected, one for each image, "
                f"got {self.labels.dtype} {list(self.labels.shape)}"
            )
        if not len(self.images):
            raise DataError("images: the set is empty")
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= len(self.classes):
            raise DataError(
                f"labels: 0 to {len(self.classes) - 1} expected for {len(self.classes)} classes, "
                f"got {lowest} to {highest}"
            )
        channels = self.images.shape[-3]
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0:
            raise DataError(
                f"mean, std: {channels} numbers each, std above 0, expected; "
                f"got {self.mean} and {self.std}"
            )

    @classmethod
    def measured(cls, images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> "Images":
        """A set normalised by its own mean and standard deviation."""
        mean, std = channel_statistics(images)
        return cls(images, labels, classes, mean, std)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def frames(self) -> int | None:
        """T, the frames of each sample; None for images, which have no time."""
        return self.images.shape[1] if self.images.dim() == 5 else None

    def subset(self, rows: range | Tensor) -> "Images":
        """The images at these positions, normalised as the whole set is.

        Neighbours in their order share the whole set's memory, which may be a file's; others are
        copied.
        """
        if isinstance(rows, range):
            if len(rows) == 0 or min(rows) < 0 or max(rows) >= len(self):
                raise DataError(
                    f"rows: {rows.start} to {rows.stop} wanted of {len(self)} images, whose rows "
                    f"run from 0 to {len(self) - 1}; take others (data.train_rows, "
                    "data.validation_rows)"
                )
            rows = torch.tensor(rows)
        if len(rows) and bool((rows.diff() == 1).all()):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            return replace(self, images=self.images[part], labels=self.labels[part])
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def like(self, training: "Images") -> "Images":
        """The same images with the classes and the normalisation of the training set.

        Raises DataError where their classes are not the training set's first ones in its order (a
        table without class names doesn't show its last classes where they have no image).
        """
        if self.classes != training.classes[: len(self.classes)]:
            raise DataError(
                f"classes: {_some(self.classes)} don't match the training set's, "
                f"{_some(training.classes)}"
            )
        if self.images.shape[1:] != training.images.shape[1:]:
            raise DataError(
                f"images: {list(self.images.shape[1:])} [C, H, W], "
                f"but the training set has {list(training.images.shape[1:])}"
            )
        return replace(self, classes=training.classes, mean=training.mean, std=training.std)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 [N, C, H, W], for pixels in [0, 1].

    Exact up to float64, from a histogram. A channel that never varies has its deviation set to 1,
    so that normalising leaves it at 0.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / max(channel.numel(), 1)
        mean = float(share @ values)
        deviation = float(share @ (values - mean).square()) ** 0.5
        means.append(mean)
        deviations.append(deviation or 1.0)
    return tuple(means), tuple(deviations)
