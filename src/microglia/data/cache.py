"""Decoded images on disk, so that each source is decoded once."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from microglia.data.images import Images
from microglia.errors import memory_for

ROWS_OR_SIZE = "the rows that are loaded (data.train_rows), data.size or, of events, network.T"
FORMAT = 1  # raised whenever decoding, or what is stored, changes


def cache_folder() -> Path:
    """Where decoded images are kept: ``$MICROGLIA_CACHE``, else ``~/.cache/microglia``."""
    return Path(os.environ.get("MICROGLIA_CACHE") or "~/.cache/microglia").expanduser()


def cached(name: str, *, key: Mapping[str, object], make: Callable[[], Images]) -> Images:
    """The images that ``make`` returns, from the cache where ``key`` has been seen before.

    ``key`` must hold all that the result depends on, as plain JSON. The file is memory-mapped; it
    is written beside its place and moved there whole. A damaged one is written again, and a cache
    that can't be written only warns: the images are returned all the same.

    Raises TrainingError where there is no memory for them.
    """
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:20]
    path = cache_folder() / f"{name}-{digest}.safetensors"
    if path.is_file():
        try:
            return _read(path)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            pass  # Damaged, or another program's: what follows replaces it.
    with memory_for(f"decoding '{name}'", lower=ROWS_OR_SIZE):
        images = make()
    try:
        _write(path, images)
        return _read(path)  # whose memory is the file's, where the system may take it back
    except (OSError, SafetensorError) as fault:
        warnings.warn(
            f"the image cache can't be written, so '{name}' will be decoded again next time: "
            f"{fault}. Set MICROGLIA_CACHE to a folder with room.",
            stacklevel=3,
        )
    return images


def _read(path: Path) -> Images:
    with safe_open(path, framework="pt") as file:
        text = file.metadata()
        return Images(
            file.get_tensor("images"),
            file.get_tensor("labels"),
            tuple(json.loads(text["classes"])),
            tuple(json.loads(text["mean"])),
            tuple(json.loads(text["std"])),
        )


def _write(path: Path, images: Images) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        save_file(
            {"images": images.images.contiguous(), "labels": images.labels.contiguous()},
            part,
            metadata={
                "classes": json.dumps(images.classes),
                "mean": json.dumps(images.mean),
                "std": json.dumps(images.std),
            },
        )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
