"""Images from Parquet files, as Hugging Face writes them or with plain bytes and integers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microglia.data.encoded import Encoded
from microglia.data.extras import require
from microglia.data.table import check_rows, choose_columns, read_bytes, read_labels
from microglia.errors import DataError


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of a folder by split: ``train.parquet``, or its shards
    ``train-00000-of-00002.parquet`` in order."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        found.setdefault(path.stem.split("-")[0], []).append(path)
    return found


def read_parquet(
    files: Sequence[Path],
    *,
    rows: range | None,
    image_column: str | None,
    label_column: str | None,
    every_class: bool,
) -> Encoded:
    """Read rows of one table that may lie in several files, and only the row groups they touch.

    Raises DataError for a damaged file, columns that are missing or of the wrong type, labels out
    of range, and rows that don't exist.
    """
    arrow = require("pyarrow", to="read Parquet files")
    parquet = require("pyarrow.parquet", to="read Parquet files")
    source = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    faults = (arrow.ArrowException, OSError)
    try:
        tables = [parquet.ParquetFile(path) for path in files]
    except faults as fault:
        raise DataError(f"{source}: not a whole Parquet file ({fault})") from fault
    try:
        columns = choose_columns(
            tables[0].schema_arrow,
            image_column=image_column,
            label_column=label_column,
            source=source,
        )
        whole = _joined(arrow, [t.read(columns=[columns.label])[columns.label] for t in tables])
        labels, classes = read_labels(whole, columns, every_class=every_class, source=source)
        chosen = check_rows(rows, len(labels), source=source)
        encoded = _image_column(arrow, tables, columns.image, chosen)
    except (*faults, KeyError) as fault:
        raise DataError(f"{source}: damaged or incomplete ({fault})") from fault
    finally:
        for table in tables:
            table.close()

    def where(i: int) -> str:
        return f"{source}, row {chosen[i]}"

    return Encoded(read_bytes(encoded, where=where), labels[np.asarray(chosen)], classes, where)


def _image_column(arrow: Any, tables: Sequence[Any], name: str, rows: range) -> Any:
    """The image column at ``rows``, reading only the row groups that hold some of them."""
    parts = []
    first = 0
    for table in tables:
        for group in range(table.metadata.num_row_groups):
            after = first + table.metadata.row_group(group).num_rows
            inside = [row - first for row in rows if first <= row < after]
            if inside:
                parts.append(table.read_row_group(group, columns=[name])[name].take(inside))
            first = after
    return _joined(arrow, parts)


def _joined(arrow: Any, parts: Sequence[Any]) -> Any:
    """One column out of the same column of several tables."""
    return arrow.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
