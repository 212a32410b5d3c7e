"""One image to pixels: the fast decoder and Pillow agree."""

from pathlib import Path

import numpy as np
import pytest
from image_sources import encode, pixels
from PIL import Image

from microglia.data.decode import _torchvision_jpeg, image_reader
from microglia.errors import DataError


@pytest.fixture(params=["RGB", "L", "CMYK", "odd sides", "coarse"])
def jpeg(request: pytest.FixtureRequest) -> bytes:
    image = Image.fromarray(pixels(1, seed=5, side=33)[0])
    if request.param == "odd sides":
        image = image.crop((0, 0, 17, 31))
    elif request.param == "coarse":
        image = image.resize((64, 64)).quantize(8).convert("RGB")
    else:
        image = image.convert(request.param)
    return encode(image, kind="JPEG")


def test_the_fast_decoder_gives_pillows_pixels(jpeg: bytes) -> None:
    pytest.importorskip("torchvision.io", reason="the fast decoder is torchvision's")
    assert _torchvision_jpeg() is not None, "torchvision has dropped its decoder"
    fast, slow = (image_reader(fast=fast)(jpeg) for fast in (True, False))
    assert np.array_equal(fast, slow)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_refuses_a_truncated_image(fast: bool, kind: str, share: float) -> None:
    whole = encode(pixels(1, side=40)[0], kind=kind)
    with pytest.raises(DataError, match="not an image that can be read"):
        image_reader(fast=fast)(whole[: int(len(whole) * share)])


def test_size_cuts_the_centre() -> None:
    image = np.zeros((10, 30, 3), dtype=np.uint8)
    image[:, 10:20] = 200
    assert (image_reader(size=10)(encode(image)) == 200).all()
    assert image_reader(size=7)(encode(image)).shape == (3, 7, 7)
    assert image_reader(size=16)(encode(image.transpose(1, 0, 2))).shape == (3, 16, 16)


def test_reads_a_path(tmp_path: Path) -> None:
    image = pixels(1)[0]
    path = tmp_path / "a.png"
    path.write_bytes(encode(image))
    assert np.array_equal(image_reader()(path), image.transpose(2, 0, 1))
    with pytest.raises(DataError, match="not an image that can be read"):
        image_reader()(tmp_path / "b.png")
