"""Labelled images as files hold them, and their decoding into one uint8 tensor."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from microglia.data.decode import Pixels, image_reader
from microglia.data.images import Images
from microglia.errors import DataError

CHUNK = 512  # images that a thread decodes at a time
MANY = 10_000  # images from which on importing the fast decoder pays


@dataclass(frozen=True)
class Encoded:
    """What a source gives: JPEG, PNG, ... as bytes or paths, labels, and names for both.

    ``labels``: int64 [N], positions in ``classes``; ``where(i)`` says where image i came from.
    """

    files: Sequence[bytes | Path]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    where: Callable[[int], str]


def decode(encoded: Encoded, *, size: int | None = None) -> Images:
    """Decode all images in parallel; grey ones become RGB.

    ``size`` scales the shorter side to that many pixels and cuts out the centre; without it all
    images must have the same sides.

    Raises DataError for an image that can't be read, for one with other sides than the first, and
    for pixels of more than 8 bits.
    """
    read = image_reader(size=size, fast=len(encoded.files) > MANY or "torchvision" in sys.modules)

    def image(i: int) -> Pixels:
        try:
            return read(encoded.files[i])
        except DataError as fault:
            raise DataError(f"{encoded.where(i)}: {fault}") from fault

    first = image(0)
    pixels = np.empty((len(encoded.files), *first.shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for i in range(start, min(start + CHUNK, len(pixels))):
            decoded = image(i)
            if decoded.shape != first.shape:
                raise DataError(
                    f"{encoded.where(i)}: {_sides(decoded)} pixels, but {encoded.where(0)} has "
                    f"{_sides(first)}; give size= to bring all images to one size"
                )
            pixels[i] = decoded

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(fill, range(0, len(pixels), CHUNK)))
    return Images.measured(
        torch.from_numpy(pixels), torch.from_numpy(encoded.labels.copy()), encoded.classes
    )


def _sides(pixels: Pixels) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}"
