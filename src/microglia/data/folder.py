"""Images from a folder with one sub-folder for each class."""

import hashlib
from pathlib import Path

import numpy as np

from microglia.data.encoded import Encoded
from microglia.data.table import check_rows
from microglia.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def subfolders(folder: Path) -> list[Path]:
    """The sub-folders of ``folder`` by name, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """All image files below ``folder``, told by their suffix."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def read_folder(folder: Path, *, rows: range | None, class_folder: Path | None = None) -> Encoded:
    """List the images in the sub-folders of ``folder``; a class is named after its sub-folder.

    The order is that of a hash of each file's path inside ``folder``: the same on every machine,
    and mixed, so that a prefix of the rows is class-balanced in expectation. ``class_folder`` is
    the folder whose sub-folders are the classes where it is not ``folder`` itself (a test part
    takes its classes from the training part).

    Raises DataError where there is no class, a class without images or one that ``class_folder``
    doesn't have, and rows that don't exist.
    """
    classes = tuple(p.name for p in subfolders(class_folder or folder))
    if not classes:
        raise DataError(f"{folder}: neither Parquet files nor sub-folders named after classes")
    found: list[tuple[str, Path, int]] = []
    for sub in subfolders(folder):
        if sub.name not in classes:
            raise DataError(f"{sub}: class '{sub.name}' is unknown in {class_folder}")
        files = image_files(sub)
        if not files:
            raise DataError(
                f"{sub}: class '{sub.name}' has no image ({', '.join(sorted(SUFFIXES))})"
            )
        label = classes.index(sub.name)
        found += [(_hash(path.relative_to(folder)), path, label) for path in files]
    if not found:
        raise DataError(f"{folder}: no sub-folders named after classes")
    found.sort()
    chosen = [found[i] for i in check_rows(rows, len(found), source=str(folder))]
    paths = [path for _, path, _ in chosen]
    labels = np.array([label for _, _, label in chosen], dtype=np.int64)
    return Encoded(paths, labels, classes, lambda i: str(paths[i]))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode()).hexdigest()
