"""One encoded image (JPEG, PNG, ...) to pixels."""

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from microglia.data.extras import require
from microglia.errors import DataError

Pixels = NDArray[np.uint8]  # [3, H, W]
Reader = Callable[[bytes | Path], Pixels]
UNCHANGED = 0  # torchvision's ImageReadMode: as many channels as the file has


def image_reader(
    *, size: int | None = None, fast: bool = False
) -> Callable[[bytes | Path], Pixels]:
    """A function that decodes one image to uint8 RGB [3, H, W]; grey becomes RGB.

    ``size`` scales the shorter side to that many pixels and cuts out the centre. ``fast`` reads
    JPEGs with torchvision where it is installed: several times as fast as Pillow and with the same
    pixels, but it takes seconds to import.

    The function raises DataError for what can't be read and for pixels of more than 8 bits.
    """
    pillow = require("PIL.Image", to="decode images")
    jpeg = _torchvision_jpeg() if fast else None

    def read(source: bytes | Path) -> Pixels:
        try:
            data = source if isinstance(source, bytes) else source.read_bytes()
            pixels = jpeg(data) if jpeg is not None and data.startswith(b"\xff\xd8") else None
            if pixels is None:
                pixels = _pillow_pixels(pillow, data)
        except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as fault:
            raise DataError(f"not an image that can be read ({fault})") from fault
        return pixels if size is None else _centre(pillow, pixels, size)

    return read


def _torchvision_jpeg() -> Callable[[bytes], Pixels | None] | None:
    """torchvision's JPEG decoder, if installed; it gives None for what it leaves to Pillow."""
    try:
        import_module("torchvision.io")
        # Not `torchvision.io.decode_jpeg`, which warns at every call since 0.29. Where a later
        # release drops the decoder, Pillow does the work.
        decode = torch.ops.image.decode_jpeg
    except (ImportError, RuntimeError, AttributeError):
        return None

    def read(data: bytes) -> Pixels | None:
        try:
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels: Pixels = decode(encoded, UNCHANGED).numpy()
        except (RuntimeError, ValueError):
            return None  # Pillow says what is wrong with it
        if len(pixels) == 1:
            return np.broadcast_to(pixels, (3, *pixels.shape[1:]))
        return pixels if len(pixels) == 3 else None  # not CMYK, which each converts its own way

    return read


def _pillow_pixels(pillow: Any, data: bytes) -> Pixels:
    with pillow.open(io.BytesIO(data)) as image:
        if image.mode in ("I", "F") or image.mode.startswith("I;"):
            raise DataError("its pixels have more than 8 bits; convert the images to 8 bits")
        return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)


def _centre(pillow: Any, pixels: Pixels, size: int) -> Pixels:
    """The centre square of the image, scaled so that its shorter side is ``size``."""
    image = pillow.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    left, top = (wide - size) // 2, (high - size) // 2
    image = image.resize((wide, high), pillow.Resampling.BILINEAR)
    image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
