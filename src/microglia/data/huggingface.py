"""Images from Hugging Face data sets that are already on this machine."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from microglia.data.encoded import Encoded
from microglia.data.extras import require
from microglia.data.names import choose_split
from microglia.data.table import check_rows, choose_columns, read_bytes, read_labels
from microglia.errors import DataError

NAME = re.compile(r"(?:[A-Za-z0-9_-][\w.-]*/)?[A-Za-z0-9_-][\w.-]*")

# Short names, the repositories they stand for, and the size of the download.
KNOWN = {
    "cifar10": ("uoft-cs/cifar10", "144 MB"),
    "cifar100": ("uoft-cs/cifar100", "142 MB"),
    "mnist": ("ylecun/mnist", "18 MB"),
    "fashion_mnist": ("zalando-datasets/fashion_mnist", "36 MB"),
    "tiny-imagenet": ("zh-plus/tiny-imagenet", "160 MB"),
}


def open_cached(name: str) -> Any:
    """The data set ``name`` (or ``name:configuration``) from Hugging Face's cache, never from the
    network: a ``datasets.DatasetDict``.

    Raises DataError, at once, where it isn't there: with what to download and where to put it.
    """
    repository, _, configuration = name.partition(":")
    if not NAME.fullmatch(repository):
        raise DataError(f"hf:{name}: 'hf:owner/name' or 'hf:owner/name:configuration' expected")
    datasets = require("datasets", to="read Hugging Face data sets")
    # `load_dataset` would ask the network first, or take a folder of that name; this reads the same
    # cache and nothing else.
    cache = require("datasets.packaged_modules.cache.cache", to="read Hugging Face data sets")
    known, size = KNOWN.get(repository, (repository, ""))
    faults = []
    for candidate in dict.fromkeys((repository, known)):
        try:
            with _quiet(datasets):
                return cache.Cache(
                    repo_id=candidate,
                    dataset_name=candidate.split("/")[-1],
                    config_name=configuration or None,
                    version="auto",
                    hash="auto",
                ).as_dataset()
        except Exception as fault:
            # What `datasets` raises for a cache that is missing or damaged differs by version.
            faults.append(str(fault).replace("\n", " "))
    load = ", ".join(repr(word) for word in (known, configuration) if word)
    raise DataError(
        f"hf:{name}: not on this machine, and nothing is downloaded unasked. "
        f"With a network{f' (about {size})' if size else ''}, run once:\n"
        f'  python -c "import datasets; datasets.load_dataset({load})"\n'
        f"or take the Parquet files from https://huggingface.co/datasets/{known}/tree/main, put "
        "them into one folder as train.parquet and test.parquet, and give that folder instead of "
        f"'hf:{name}'. (Looked in {datasets.config.HF_DATASETS_CACHE}: {'; '.join(faults)})"
    )


def read_huggingface(
    parts: Any,
    *,
    name: str,
    split: str,
    rows: range | None,
    image_column: str | None,
    label_column: str | None,
) -> Encoded:
    """Read rows of one split of an opened data set (see `open_cached`).

    Raises DataError as `microglia.data.parquet.read_parquet` does.
    """
    split = choose_split(split, list(parts), source=f"hf:{name}")
    part = parts[split]
    source = f"hf:{name}, {split}"
    columns = choose_columns(
        part.features.arrow_schema,
        image_column=image_column,
        label_column=label_column,
        source=source,
    )
    whole = part.select_columns([columns.label]).with_format("arrow")[:][columns.label]
    labels, classes = read_labels(whole, columns, every_class=split == "train", source=source)
    chosen = check_rows(rows, len(labels), source=source)

    def where(i: int) -> str:
        return f"{source}, row {chosen[i]}"

    images = part.select_columns([columns.image]).select(chosen).with_format("arrow")[:]
    return Encoded(
        read_bytes(images[columns.image], where=where), labels[np.asarray(chosen)], classes, where
    )


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """`datasets` doesn't warn that it looks into its cache alone."""
    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
