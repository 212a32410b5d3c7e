"""Events of a neuromorphic sensor, and their sum in frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from microglia.data.images import Images
from microglia.errors import ConfigError, DataError, nearest

SplitBy = Literal["time", "count"]
SPLITS_BY: tuple[SplitBy, ...] = ("time", "count")
CHUNK = 1 << 22  # events, or counts of events, that are summed at a time


@dataclass(frozen=True, eq=False)
class Events:
    """Labelled recordings, one after the other.

    Sample i has the events `offsets[i]:offsets[i + 1]`: times `t` in microseconds, in rising
    order, positions `x` and `y` in pixels, polarity `p` in {0, 1}. `sensor` is (height, width).

    Raises DataError, naming the sample, where these don't fit together: offsets that go backwards
    or past the end, a sample without events, times that go backwards, events out of the sensor's
    bounds, a polarity of another kind, labels that are out of range.
    """

    t: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    p: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    sensor: tuple[int, int]
    source: str

    def __post_init__(self) -> None:
        self._check_offsets()
        height, width = self.sensor
        for name, values, end in (("x", self.x, width), ("y", self.y, height), ("p", self.p, 2)):
            self._refuse((values < 0) | (values >= end), f"{name} wants values from 0 to {end - 1}")
        later = np.diff(self.t.astype(np.int64), prepend=0) >= 0
        later[self.offsets[:-1]] = True
        self._refuse(~later, "times go backwards")
        wrong = (self.labels < 0) | (self.labels >= len(self.classes))
        if wrong.any():
            sample = int(wrong.argmax())
            raise DataError(
                f"{self.source}, sample {sample}: label {self.labels[sample]}, "
                f"wanted 0 to {len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, samples: NDArray[np.int64]) -> Events:
        """Some of the recordings, in the given order."""
        counts = np.diff(self.offsets)[samples]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        first = np.repeat(self.offsets[samples] - offsets[:-1], counts)
        rows = first + np.arange(offsets[-1])
        parts = {name: getattr(self, name)[rows] for name in "txyp"}
        return Events(
            **parts,
            offsets=offsets,
            labels=self.labels[samples],
            classes=self.classes,
            sensor=self.sensor,
            source=self.source,
        )

    def _check_offsets(self) -> None:
        counts = {name: len(getattr(self, name)) for name in "txyp"}
        if len(set(counts.values())) > 1:
            raise DataError(f"{self.source}: t, x, y and p differ in length: {counts}")
        if len(self.offsets) != len(self.labels) + 1 or not len(self.labels):
            raise DataError(
                f"{self.source}: wanted one offset more than labels, and one label at least; "
                f"got {len(self.offsets)} offsets and {len(self.labels)} labels"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.t):
            raise DataError(
                f"{self.source}: offsets run from {self.offsets[0]} to {self.offsets[-1]}, "
                f"wanted 0 to {len(self.t)}, the number of events"
            )
        counts_ = np.diff(self.offsets)
        if (counts_ <= 0).any():
            sample = int((counts_ <= 0).argmax())
            what = "no events" if counts_[sample] == 0 else "offsets that go backwards"
            raise DataError(f"{self.source}, sample {sample}: {what}")

    def _refuse(self, wrong: NDArray[np.bool_], why: str) -> None:
        if wrong.any():
            event = int(wrong.argmax())
            sample = int(np.searchsorted(self.offsets, event, side="right")) - 1
            raise DataError(f"{self.source}, sample {sample}, event {event}: {why}")


def frames(events: Events, *, T: int, by: SplitBy = "time", size: int | None = None) -> Images:
    """Sums of events in T slices of each recording: uint8 [N, T, 2, H, W].

    A slice holds, of each polarity, how many events fell on each pixel, at most 255. `by="time"`
    cuts the span from a recording's first to its last event into T equal parts, `by="count"` its
    events into T parts of equal number, to within one. With `size` events are summed over the
    sensor's pixels that fall on one of size x size.

    The frames are left as they are: mean 0 and standard deviation 1/255 stand in the result, so
    that batches hold the numbers of events.

    Raises ConfigError for T below 1, a size above the sensor's, or another word for `by`.
    """
    if T < 1:
        raise ConfigError(f"T: at least 1 frame expected, got {T}")
    if by not in SPLITS_BY:
        raise ConfigError(f"split_by: '{by}' is unknown.{nearest(by, list(SPLITS_BY))}")
    height, width = events.sensor
    if size is not None and not 1 <= size <= min(height, width):
        raise ConfigError(
            f"size: frames of at most {min(height, width)} pixels expected of a sensor of "
            f"{height}x{width}, got {size}"
        )
    rows, columns = (height, width) if size is None else (size, size)
    slice_of = _by_time if by == "time" else _by_count
    whole = np.empty((len(events), T, 2, rows, columns), np.uint8)
    for first, last in _chunks(events.offsets, CHUNK // max(1, whole[0].size)):
        begin, end = events.offsets[first], events.offsets[last]
        part = slice(begin, end)
        starts = events.offsets[first : last + 1] - begin
        sample = np.repeat(np.arange(last - first), np.diff(starts))
        place = sample * T + slice_of(events.t[part].astype(np.int64), starts, T)
        place = place * 2 + events.p[part].astype(np.int64)
        place = place * rows + events.y[part].astype(np.int64) * rows // height
        place = place * columns + events.x[part].astype(np.int64) * columns // width
        total = np.bincount(place, minlength=(last - first) * whole[0].size)
        whole[first:last] = np.minimum(total, 255).reshape(-1, *whole.shape[1:])
    return Images(
        torch.from_numpy(whole),
        torch.from_numpy(events.labels.astype(np.int64)),
        events.classes,
        mean=(0.0, 0.0),
        std=(1 / 255, 1 / 255),
    )


Slicing = Callable[[NDArray[np.int64], NDArray[np.int64], int], NDArray[np.int64]]


def _by_time(t: NDArray[np.int64], starts: NDArray[np.int64], T: int) -> NDArray[np.int64]:
    """The slice of each event, by its time."""
    counts = np.diff(starts)
    begin, end = (np.repeat(t[i], counts) for i in (starts[:-1], starts[1:] - 1))
    span = np.maximum(end - begin, 1)
    slices: NDArray[np.int64] = np.minimum((t - begin) * T // span, T - 1)
    return slices


def _by_count(t: NDArray[np.int64], starts: NDArray[np.int64], T: int) -> NDArray[np.int64]:
    """The slice of each event, by its place in its recording."""
    counts = np.diff(starts)
    place = np.arange(len(t)) - np.repeat(starts[:-1], counts)
    slices: NDArray[np.int64] = place * T // np.repeat(counts, counts)
    return slices


def _chunks(offsets: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Runs of whole samples, of some `CHUNK` events each and at most so many samples, or one."""
    runs, first = [], 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + CHUNK, side="right")) - 1
        last = max(first + 1, min(last, first + most))
        runs.append((first, last))
        first = last
    return runs
