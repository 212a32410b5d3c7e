"""Images and labels in the columns of an Arrow table: what Parquet and Hugging Face share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.data.extras import require
from microglia.errors import DataError, nearest

LABELS = ("label", "labels", "fine_label", "class", "target")  # in this order, where none is named


MOST_CLASSES = 10_000
"""More than of any data set here, for tables too short to show all of theirs."""


@dataclass(frozen=True)
class Columns:
    """Which columns hold the images and the labels, and the classes' names where they are known."""

    image: str
    label: str
    classes: tuple[str, ...] | None


def choose_columns(
    schema: Any, *, image_column: str | None, label_column: str | None, source: str
) -> Columns:
    """Find the image and the label column of an Arrow schema.

    The first image column is the first with encoded images (bytes, or Hugging Face's struct of
    bytes and path); the label column the first of `LABELS`, else the only column of integers.

    Raises DataError where a named column is missing or of another type, and where there is no
    single candidate.
    """
    types = require("pyarrow", to="read tables").types
    integers = [field.name for field in schema if types.is_integer(field.type)]
    encoded = [field.name for field in schema if _holds_images(types, field.type)]
    for named, fitting, what in (
        (image_column, encoded, "encoded images (bytes, or a struct with a field 'bytes')"),
        (label_column, integers, "integer labels"),
    ):
        if named is None or named in fitting:
            continue
        if named in schema.names:
            kind = schema.field(named).type
            raise DataError(f"{source}: column '{named}' should hold {what}, it holds {kind}")
        raise DataError(f"{source}: no column '{named}'.{nearest(named, schema.names)}")
    image = image_column or next(iter(encoded), None)
    if image is None:
        raise DataError(
            f"{source}: no column of encoded images (bytes, or a struct with a field 'bytes') "
            f"among {', '.join(schema.names) or 'no columns'}"
        )
    usual = [name for name in LABELS if name in integers]
    label = label_column or next(iter(usual or (integers if len(integers) == 1 else [])), None)
    if label is None:
        raise DataError(
            f"{source}: which column holds the integer labels? Give label_column=, "
            f"one of {', '.join(integers) or '(none of the columns holds integers)'}"
        )
    return Columns(image, label, _class_names(schema, label))


def read_labels(
    column: Any, columns: Columns, *, every_class: bool, source: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The whole label column as int64 [rows], and the names of its classes.

    Raises DataError for an empty table, a missing label, a label outside the named classes and,
    where ``every_class``, for a class without an image.
    """
    if len(column) == 0:
        raise DataError(f"{source}: the table has no rows")
    if column.null_count:
        raise DataError(
            f"{source}: {column.null_count} of {len(column)} rows of '{columns.label}' are empty"
        )
    labels: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    count = int(labels.max()) + 1 if columns.classes is None else len(columns.classes)
    if columns.classes is None and count > max(len(labels), MOST_CLASSES):
        raise DataError(
            f"{source}: '{columns.label}' holds {count - 1}, which would make {count} classes of "
            f"{len(labels)} rows; is it the column of the labels?"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= count))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{source}: {len(outside)} labels in '{columns.label}' lie outside the {count} classes "
            f"(0 to {count - 1}), the first in row {row}: {labels[row]}"
        )
    present = np.unique(labels)
    if every_class and len(present) < count:
        empty = next(i for i, label in enumerate([*present, count]) if i != label)
        name = f" ('{columns.classes[empty]}')" if columns.classes else ""
        raise DataError(
            f"{source}: {count - len(present)} of {count} classes have no image, "
            f"the first is {empty}{name}"
        )
    return labels, columns.classes or tuple(str(i) for i in range(count))


def read_bytes(column: Any, *, where: Callable[[int], str]) -> list[bytes]:
    """The encoded images of an Arrow column. Raises DataError for a row that holds none."""
    arrow = require("pyarrow", to="read tables")
    if arrow.types.is_struct(column.type):
        column = require("pyarrow.compute", to="read tables").struct_field(column, "bytes")
    files: list[bytes | None] = column.to_pylist()
    for i, file in enumerate(files):
        if not file:
            raise DataError(f"{where(i)}: holds no image")
    return [file for file in files if file]


def check_rows(rows: range | None, count: int, *, source: str) -> range:
    """The rows to read, all of them for None. Raises DataError where some don't exist."""
    if rows is None:
        return range(count)
    if len(rows) == 0 or rows.step < 1:
        raise DataError(f"{source}: {rows} is no rising range of rows")
    if rows[0] < 0 or rows[-1] >= count:
        raise DataError(
            f"{source}: rows {rows[0]} to {rows[-1]} were asked for, it has 0 to {count - 1}"
        )
    return rows


def _holds_images(types: Any, kind: Any) -> bool:
    if types.is_struct(kind):
        fields = {field.name: field.type for field in map(kind.field, range(kind.num_fields))}
        kind = fields.get("bytes", kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """The names that Hugging Face writes into the schema's metadata, if any."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        names = json.loads(text)["info"]["features"][label].get("names")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return tuple(str(name) for name in names) if names else None
