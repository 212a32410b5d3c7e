"""What is said where a package of the extra `data` is missing."""

import sys
from pathlib import Path

import pytest
from image_sources import WriteParquet, encode, pixels

from microglia.data import load_images
from microglia.errors import DataError


@pytest.fixture
def sources(write_parquet: WriteParquet, tmp_path: Path) -> dict[str, str]:
    """For each package, a source that can't be read without it."""
    (tmp_path / "insects" / "ant").mkdir(parents=True)
    (tmp_path / "insects" / "ant" / "0.png").write_bytes(encode(pixels(1)[0]))
    table = write_parquet("train.parquet", [encode(pixels(1)[0])], [0])
    return {
        "sklearn": "digits",
        "datasets": "hf:cifar10",
        "pyarrow": str(table),
        "PIL": str(tmp_path / "insects"),
    }


@pytest.mark.parametrize("package", ["sklearn", "datasets", "pyarrow", "PIL"])
def test_says_how_to_get_a_missing_package(
    sources: dict[str, str], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [package, *(m for m in sys.modules if m.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=rf"^{package} is needed to .* 'microglia\[data\]'$"):
        load_images(sources[package], split="train")
