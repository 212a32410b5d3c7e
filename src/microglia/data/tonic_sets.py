"""Event data sets that Tonic reads: CIFAR10-DVS, DVS128 Gesture, N-MNIST.

Nothing is downloaded here: who lacks a set is told what to do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from microglia.data.events import Events, SplitBy, frames
from microglia.data.extras import require
from microglia.data.images import Images
from microglia.data.table import check_rows
from microglia.errors import DataError, nearest

CHUNK = 64  # recordings that are in memory at a time


@dataclass(frozen=True)
class TonicSet:
    """A data set as Tonic calls it, and what somebody who lacks it must know."""

    size: str
    sites: str
    archives: tuple[str, ...]
    parts: bool = True
    """Whether it comes in a training and a test part; else the last tenth of each class tests."""


SETS = {
    "NMNIST": TonicSet(
        "1.2 GB", "https://www.garrickorchard.com/datasets/n-mnist", ("train.zip", "test.zip")
    ),
    "DVSGesture": TonicSet(
        "2.9 GB",
        "https://research.ibm.com/interactive/dvsgesture/",
        ("ibmGestureTrain.tar.gz", "ibmGestureTest.tar.gz"),
    ),
    "CIFAR10DVS": TonicSet(
        "7.9 GB",
        "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
        ("CIFAR10DVS.zip",),
        parts=False,
    ),
}


def tonic_folder() -> Path:
    """Where the sets are looked for, each in a folder of its name: $MICROGLIA_DATA, or here."""
    return Path(os.environ.get("MICROGLIA_DATA") or ".").expanduser()


def load_tonic(
    name: str, *, split: str, rows: range | None, T: int, by: SplitBy, size: int | None
) -> Images:
    """One part of a set, its recordings summed in frames as `events.frames` does.

    Raises DataError where Tonic or the set isn't here, for a part that it lacks, and as `Events`
    does.
    """
    data = _open(name, split)
    # By name: Tonic lists files as the file system does.
    chosen = np.array(sorted(range(len(data)), key=lambda i: str(data.data[i])))
    if not SETS[name].parts:
        chosen = chosen[_tenth(np.asarray(data.targets)[chosen], last=split == "test")]
    chosen = chosen[np.asarray(check_rows(rows, len(chosen), source=f"{name}, {split}"))]
    whole: torch.Tensor | None = None
    for begin in range(0, len(chosen), CHUNK):
        some = chosen[begin : begin + CHUNK]
        part = frames(_events(data, some, f"{name}, {split}"), T=T, by=by, size=size)
        if whole is None:
            whole = torch.empty((len(chosen), *part.images.shape[1:]), dtype=torch.uint8)
        whole[begin : begin + len(some)] = part.images
    if whole is None:
        raise DataError(f"{name}, {split}: no recordings")
    labels = torch.tensor([int(data.targets[i]) for i in chosen])
    return Images(whole, labels, part.classes, part.mean, part.std)


def _open(name: str, split: str) -> Any:
    """Tonic's data set."""
    if name not in SETS:
        raise DataError(f"tonic:{name} is unknown.{nearest(name, list(SETS))}")
    if split == "validation":
        raise DataError(f"{name}: it has no validation part; hold out training rows")
    known = SETS[name]
    tonic = require("tonic", to=f"read {name}", extra="tonic")
    place = tonic_folder() / name

    def refuse(self: Any) -> None:
        raise DataError(
            f"{name}: not in '{place}', and nothing is downloaded here. It is about {known.size}: "
            f"fetch {' and '.join(known.archives)} from {known.sites} into that folder and unpack "
            f"them there, and the archives inside, or let Tonic do it: "
            f"tonic.datasets.{name}({str(tonic_folder())!r})"
        )

    offline = type(name, (getattr(tonic.datasets, name),), {"download": refuse})
    return offline(str(tonic_folder()), **({"train": split == "train"} if known.parts else {}))


def _tenth(labels: np.ndarray, *, last: bool) -> np.ndarray:
    """The last tenth of each class in the order of the files, or the nine before it."""
    parts = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        cut = len(mine) - len(mine) // 10
        parts.append(mine[cut:] if last else mine[:cut])
    return np.sort(np.concatenate(parts))


def _events(data: Any, samples: np.ndarray, source: str) -> Events:
    """Some recordings, each in the order of time."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in "txyp"}
    counts = []
    for sample in samples:
        found, _ = data[int(sample)]
        order = np.argsort(found["t"], kind="stable")
        begin = found["t"].min() if len(found) else 0
        columns["t"].append((found["t"][order] - begin).astype(np.int64))
        for name in "xyp":
            columns[name].append(np.asarray(found[name][order]).astype(np.int64))
        counts.append(len(found))
    width, height, _ = data.sensor_size
    return Events(
        **{name: np.concatenate(values) for name, values in columns.items()},
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels=np.array([int(data.targets[i]) for i in samples]),
        classes=tuple(map(str, data.classes)),
        sensor=(height, width),
        source=source,
    )
