"""Images that the tests of this room make and encode."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

WriteParquet = Callable[..., Path]


def pixels(count: int, *, seed: int = 0, side: int = 8) -> np.ndarray:
    """RGB images [N, side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def encode(image: np.ndarray | Image.Image, *, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind)
    return file.getvalue()
