"""Events from HDF5 files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from microglia.data.events import Events
from microglia.data.extras import require
from microglia.data.names import choose_split
from microglia.errors import DataError

SUFFIXES = (".h5", ".hdf5")
_COLUMNS = ("t", "x", "y", "p", "offsets", "label")


def event_file(path: Path) -> Path | None:
    """`path` if it is an HDF5 file, the only one of a folder, or None."""
    if path.is_file():
        return path if path.suffix in SUFFIXES else None
    files = [p for p in sorted(path.iterdir()) if p.suffix in SUFFIXES]
    return files[0] if len(files) == 1 else None


def read_events(path: Path, *, split: str) -> Events:
    """One split of a file of recordings.

    A file holds the groups `train` and `test` (or `valid`), each with `t`, in microseconds, `x`,
    `y`, `p`, `offsets` (sample i is `offsets[i]:offsets[i + 1]`) and `label`; its attributes are
    `classes`, a JSON list of names, and `meta`, JSON with the sensor's `width` and `height`.

    Raises DataError for a damaged file, one of another layout, a split that it lacks, a class of
    the training part without samples, and as `Events` does.
    """
    hdf5 = require("h5py", to="read event files")
    source = f"{path.name}, {split}"
    try:
        with hdf5.File(path, "r") as file:
            classes, sensor = _attributes(file, path)
            group = file[choose_split(split, list(file), source=path.name)]
            missing = [name for name in _COLUMNS if name not in group]
            if missing:
                raise DataError(f"{source}: {', '.join(missing)} missing; wanted {_COLUMNS}")
            columns = {name: np.asarray(group[name]) for name in _COLUMNS}
            if columns["p"].dtype == bool:
                columns["p"] = columns["p"].astype(np.uint8)
    except (OSError, RuntimeError, KeyError) as fault:
        raise DataError(f"{path.name}: not a whole HDF5 file ({fault})") from fault
    for name, values in columns.items():
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
            raise DataError(
                f"{source}: '{name}' wants whole numbers in one row, has {values.dtype} of shape "
                f"{values.shape}"
            )
    labels = columns.pop("label").astype(np.int64)
    offsets = columns.pop("offsets").astype(np.int64)
    events = Events(
        **columns, offsets=offsets, labels=labels, classes=classes, sensor=sensor, source=source
    )
    empty = sorted(set(range(len(classes))) - set(labels.tolist()))
    if split == "train" and empty:
        raise DataError(f"{source}: the class '{classes[empty[0]]}' has no samples")
    return events


def _attributes(file: Any, path: Path) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Names of the classes, and (height, width) of the sensor."""
    try:
        classes = json.loads(file.attrs["classes"])
        meta = json.loads(file.attrs["meta"])
        sensor = int(meta["height"]), int(meta["width"])
    except (KeyError, TypeError, ValueError) as fault:
        raise DataError(
            f"{path.name}: wanted the attributes classes (a JSON list) and meta (JSON with width "
            f"and height); {fault!r}"
        ) from fault
    if not isinstance(classes, list) or not classes or min(sensor) < 1:
        raise DataError(f"{path.name}: classes {classes!r} or sensor {sensor} make no sense")
    return tuple(map(str, classes)), sensor
