"""Labelled multivariate sequences from npz files."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from microglia.data.load import find_source
from microglia.data.names import choose_split
from microglia.errors import DataError

_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    AttributeError,
    BadZipFile,
    zlib.error,
    NotImplementedError,
)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of one length or several: float32 [N, T, C], zeros after the end of a short one.

    `lengths` int64 [N] and `labels` int64 [N], positions in `classes`.

    Raises DataError where these don't fit together, or a value is no number.
    """

    values: Tensor
    lengths: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if self.values.dim() != 3 or not len(self.values):
            raise DataError(
                f"{self.source}: wanted values [N, T, C], got {list(self.values.shape)}"
            )
        if not (self.lengths.shape == self.labels.shape == self.values.shape[:1]):
            raise DataError(
                f"{self.source}: {len(self.values)} sequences, {len(self.labels)} labels"
            )
        if not torch.isfinite(self.values).all():
            sample = int((~torch.isfinite(self.values)).flatten(1).any(1).nonzero()[0])
            raise DataError(f"{self.source}, sequence {sample}: a value is no number")
        wrong = (self.labels < 0) | (self.labels >= len(self.classes))
        if wrong.any():
            sample = int(wrong.nonzero()[0])
            raise DataError(
                f"{self.source}, sequence {sample}: label {int(self.labels[sample])}, wanted 0 to "
                f"{len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def scaled_like(self, training: Sequences) -> Sequences:
        """Each channel at the training set's mean 0 and deviation 1; what isn't there stays 0."""
        there = _mask(training)
        values = training.values[there]
        mean, deviation = values.mean(0), values.std(0, correction=0)
        scaled = (self.values - mean) / deviation.where(deviation > 0, torch.ones(()))
        return Sequences(
            scaled * _mask(self)[..., None], self.lengths, self.labels, self.classes, self.source
        )


def load_sequences(source: str | Path, *, split: str) -> Sequences:
    """One split of an npz file; a relative path is looked for in $MICROGLIA_DATA too.

    The file holds `classes`, and for each split `<split>_y` and `<split>_x`: [N, C, T], or, with
    `<split>_offsets`, [sum of lengths, C] where sequence i is `offsets[i]:offsets[i + 1]`.

    Raises DataError for a damaged file, one of another layout, offsets that go backwards, a class
    of the training part without sequences, and as `Sequences` does.
    """
    path = find_source(str(source))
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except _DAMAGED as fault:
        raise DataError(f"{path.name}: not a whole npz file ({fault})") from fault
    splits = {name.removesuffix("_x") for name in held if name.endswith("_x")}
    part = choose_split(split, splits, source=path.name)
    wanted = [f"{part}_y", "classes"]
    missing = [name for name in wanted if name not in held]
    if missing:
        raise DataError(f"{path.name}: {', '.join(missing)} missing")
    x, source_name = held[f"{part}_x"], f"{path.name}, {part}"
    _check_kinds(held, part, source_name)
    labels = torch.from_numpy(held[f"{part}_y"].astype(np.int64))
    if f"{part}_offsets" in held:
        values, lengths = _padded(x, held[f"{part}_offsets"].astype(np.int64), source_name)
    else:
        if x.ndim != 3:
            raise DataError(f"{source_name}: wanted x of [N, C, T], got {list(x.shape)}")
        values = torch.from_numpy(x.astype(np.float32)).transpose(1, 2).contiguous()
        lengths = torch.full((len(values),), values.shape[1])
    classes = tuple(str(c) for c in held["classes"])
    found = Sequences(values, lengths, labels, classes, source_name)
    empty = sorted(set(range(len(classes))) - set(labels.tolist()))
    if split == "train" and empty:
        raise DataError(f"{source_name}: the class '{classes[empty[0]]}' has no sequences")
    return found


def _check_kinds(held: dict[str, np.ndarray], part: str, source: str) -> None:
    """Refuse arrays of other types than the format's, which a cast would bend into shape."""
    wanted = {
        f"{part}_x": (np.floating, np.integer),
        f"{part}_y": (np.integer,),
        f"{part}_offsets": (np.integer,),
    }
    for name, kinds in wanted.items():
        if name in held and not any(np.issubdtype(held[name].dtype, kind) for kind in kinds):
            raise DataError(
                f"{source}: '{name}' wants numbers, whole ones but for x; it holds "
                f"{held[name].dtype}"
            )
    for name in (f"{part}_y", f"{part}_offsets", "classes"):
        if name in held and held[name].ndim != 1:
            raise DataError(f"{source}: '{name}' wants one row, has {list(held[name].shape)}")


def _padded(x: np.ndarray, offsets: np.ndarray, source: str) -> tuple[Tensor, Tensor]:
    counts = np.diff(offsets)
    if x.ndim != 2 or not len(counts) or offsets[0] != 0 or offsets[-1] != len(x):
        raise DataError(
            f"{source}: wanted x of [sum of lengths, C] and offsets from 0 to that sum, got "
            f"{list(x.shape)} and {offsets[:1]} to {offsets[-1:]}"
        )
    if (counts <= 0).any():
        raise DataError(
            f"{source}, sequence {int((counts <= 0).argmax())}: offsets that go backwards, or "
            "nothing between them"
        )
    parts = [torch.from_numpy(x[a:b].astype(np.float32)) for a, b in pairwise(offsets)]
    padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    return padded, torch.from_numpy(counts)


def _mask(sequences: Sequences) -> Tensor:
    """What is there, boolean [N, T]."""
    return torch.arange(sequences.values.shape[1]) < sequences.lengths[:, None]
