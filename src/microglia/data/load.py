"""One door to every source of images."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from microglia.data.cache import cached
from microglia.data.digits import load_digits
from microglia.data.encoded import decode
from microglia.data.event_files import event_file, read_events
from microglia.data.events import Events, SplitBy, frames
from microglia.data.folder import image_files, read_folder, subfolders
from microglia.data.huggingface import KNOWN, open_cached, read_huggingface
from microglia.data.images import Images
from microglia.data.names import SPLITS, VALIDATION, check_split, choose_split
from microglia.data.parquet import read_parquet, split_files
from microglia.data.rows import Rows, as_range
from microglia.data.table import check_rows
from microglia.data.tonic_sets import load_tonic, tonic_folder
from microglia.errors import ConfigError, DataError

# What files of other kinds are read by.
NO_IMAGES = {
    ".npz": "microglia.data.sequences.load_sequences",
    ".csv": "microglia.data.series.read_series",
}


def load_images(
    source: str | Path,
    *,
    split: str,
    rows: Rows | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
    T: int | None = None,
    split_by: SplitBy = "time",
) -> Images:
    """Load one split of a data set into memory, decoded once and cached on disk.

    ``source`` is one of

    - a Parquet file, or a folder with ``train.parquet`` and ``test.parquet`` (or ``valid``);
    - a folder of class sub-folders with image files, or one with such folders named ``train`` and
      ``test`` (or ``valid``);
    - an HDF5 file of events, or a folder with one (see `event_files.read_events`), which are summed
      in ``T`` frames, cut by "time" or by "count" (see `events.frames`);
    - ``"tonic:NMNIST"``, "tonic:DVSGesture" or "tonic:CIFAR10DVS", in folders of these names in
      ``$MICROGLIA_DATA`` as Tonic unpacks them; frames as of a file;
    - ``"hf:cifar10"``, a Hugging Face data set that is in its cache on this machine;
    - ``"digits"``, scikit-learn's.

    A relative path is looked for in the working directory, then in ``$MICROGLIA_DATA``.

    ``split`` is "train", "validation" or "test". A single file, or a folder of classes, has no
    splits: it is all "train", and another split needs ``rows``. ``rows``, a range or (first, end),
    picks part of a split; ``image_column`` and ``label_column`` name columns where they can't be
    told; ``size`` scales the shorter side to that many pixels and cuts out the centre, and sums
    events over larger pixels. ``T`` is for events alone: images have no time.

    Returns `Images` normalised by what was loaded; `Images.like` gives a test set the training
    set's normalisation. Decoded sets are kept in ``$MICROGLIA_CACHE`` (``~/.cache/microglia``).

    Raises DataError where the source is missing, damaged, or not what was asked for, and where it
    would need the network; ConfigError for an unknown split or a setting that the source has not.
    """
    check_split(split)
    rows = as_range(rows, setting="rows")
    if size is not None and size < 1:
        raise ConfigError(f"size: at least 1 pixel expected, got {size}")
    source = str(source)
    if source == "digits":
        return _digits(split, rows, image_column=image_column, label_column=label_column, size=size)
    key: dict[str, object] = {
        "split": split,
        "rows": None if rows is None else [rows.start, rows.stop, rows.step],
        "columns": [image_column, label_column],
        "size": size,
    }
    if source.startswith("hf:"):
        name = source.removeprefix("hf:")
        parts = open_cached(name)
        files = [Path(f["filename"]) for part in parts.values() for f in part.cache_files]
        return cached(
            name.replace("/", "-").replace(":", "-"),
            key={**key, "files": _fingerprint(files)},
            make=lambda: decode(
                read_huggingface(
                    parts,
                    name=name,
                    split=split,
                    rows=rows,
                    image_column=image_column,
                    label_column=label_column,
                ),
                size=size,
            ),
        )
    if source.startswith("tonic:"):
        name = source.removeprefix("tonic:")
        _no_columns(image_column, label_column, f"{source} holds events")
        steps = _frames(T, source)
        folder = tonic_folder() / name
        return cached(
            name,
            key={
                **key,
                "files": _below(folder),
                "T": T,
                "split_by": split_by,
            },
            make=lambda: load_tonic(name, split=split, rows=rows, T=steps, by=split_by, size=size),
        )
    path = find_source(source)
    recordings = event_file(path)
    if recordings is not None:
        _no_columns(image_column, label_column, f"{recordings} holds events")
        steps = _frames(T, str(recordings))
        return cached(
            path.stem if path.is_dir() else path.parent.name,
            key={**key, "files": _fingerprint([recordings]), "T": T, "split_by": split_by},
            make=lambda: frames(
                _rows_of(read_events(recordings, split=split), rows),
                T=steps,
                by=split_by,
                size=size,
            ),
        )
    tables = _tables(path, split, rows)
    if tables:
        return cached(
            path.stem,
            key={**key, "files": _fingerprint(tables)},
            make=lambda: decode(
                read_parquet(
                    tables,
                    rows=rows,
                    image_column=image_column,
                    label_column=label_column,
                    every_class=split == "train",
                ),
                size=size,
            ),
        )
    _no_columns(image_column, label_column, f"{path} is a folder of image files")
    folder, class_folder = _class_folders(path, split, rows)
    return cached(
        path.name,
        key={**key, "files": _fingerprint(image_files(folder)), "classes": _names(class_folder)},
        make=lambda: decode(read_folder(folder, rows=rows, class_folder=class_folder), size=size),
    )


def _digits(
    split: str,
    rows: range | None,
    *,
    image_column: str | None,
    label_column: str | None,
    size: int | None,
) -> Images:
    if image_column is not None or label_column is not None or size not in (None, 8):
        raise ConfigError("image_column, label_column, size: the digits are 8x8 and have no table")
    images = load_digits(split)
    return images if rows is None else images.subset(rows)


def _no_columns(image_column: str | None, label_column: str | None, why: str) -> None:
    if image_column is not None or label_column is not None:
        raise ConfigError(f"image_column, label_column: {why}")


def _frames(T: int | None, source: str) -> int:
    if T is None:
        raise ConfigError(f"T: {source} holds events; give T, the frames that they make")
    return T


def _rows_of(events: Events, rows: range | None) -> Events:
    if rows is None:
        return events
    return events.subset(np.asarray(check_rows(rows, len(events), source=events.source)))


def find_source(source: str) -> Path:
    """The path of ``source``, in the working directory or in $MICROGLIA_DATA."""
    path = Path(source).expanduser()
    shared = os.environ.get("MICROGLIA_DATA")
    for candidate in (path, Path(shared) / path if shared else path):
        if candidate.exists():
            return candidate
    raise DataError(
        f"{source}: no such file or folder here{f' or in {shared}' if shared else ''} "
        "(by name there are 'digits', 'hf:...' and 'tonic:...'; MICROGLIA_DATA may name a "
        f"folder of data){_on_hugging_face(source, shared)}"
    )


def _on_hugging_face(name: str, shared: str | None) -> str:
    """Where to have a set of a well-known name from."""
    if name not in KNOWN:
        return ""
    repository, size = KNOWN[name]
    return (
        f"; 'hf:{name}' is {repository} in Hugging Face's cache (a download of {size}), or put its "
        f"Parquet files into {Path(shared or '.') / name}/ as train.parquet and test.parquet"
    )


def _tables(path: Path, split: str, rows: range | None) -> list[Path]:
    """The Parquet files that hold ``split``; none where ``path`` is a folder without any."""
    if path.is_file():
        if path.suffix in NO_IMAGES:
            raise DataError(
                f"{path.name}: holds no images; {NO_IMAGES[path.suffix]} reads it, and "
                "docs/data.md shows how it is trained on"
            )
        _whole(path, split, rows)
        return [path]
    parts = split_files(path)
    return parts[choose_split(split, parts, source=str(path))] if parts else []


def _class_folders(path: Path, split: str, rows: range | None) -> tuple[Path, Path | None]:
    """The folder whose sub-folders hold the images of ``split``, and the one that names classes."""
    names = [sub.name for sub in subfolders(path)]
    if not {*SPLITS, *VALIDATION} & set(names):
        _whole(path, split, rows)
        return path, None
    folder = path / choose_split(split, names, source=str(path))
    return folder, path / "train" if "train" in names else None


def _names(class_folder: Path | None) -> list[str]:
    return [sub.name for sub in subfolders(class_folder)] if class_folder else []


def _whole(path: Path, split: str, rows: range | None) -> None:
    """A source without splits is the training set, unless the user says which rows are not."""
    if split != "train" and rows is None:
        raise DataError(
            f"{path}: has no '{split}' split of its own; give a folder with train.parquet and "
            f"test.parquet (or sub-folders train and test), or choose the {split} images with rows="
        )


def _below(folder: Path) -> list[int]:
    """What tells one state of a folder from another: files, bytes and the newest change."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return [
        len(found),
        sum(s.st_size for s in found),
        max((s.st_mtime_ns for s in found), default=0),
    ]


def _fingerprint(files: Sequence[Path]) -> list[list[object]]:
    """What tells that files have changed: path, bytes, time of the last change."""
    states = [(path.resolve(), path.stat()) for path in files]
    return [[str(path), state.st_size, state.st_mtime_ns] for path, state in states]
