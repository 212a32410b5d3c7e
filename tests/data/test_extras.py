"""The core alone: what works without the packages of the extra `data`, and what is said."""

import subprocess
import sys
from pathlib import Path

WITHOUT = """
import sys
for name in ("pyarrow", "PIL", "datasets", "sklearn", "torchvision"):
    sys.modules[name] = None
import torch
from microglia.data import Batches, Images, load_images
images = Images.measured(
    torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), ("a",)
)
assert len(list(Batches(images, batch_size=2, augment="shift"))) == 2
for source in sys.argv[1:]:
    try:
        load_images(source, split="train")
    except Exception as fault:
        print(type(fault).__name__, fault)
"""


def test_only_the_sources_need_the_extra(tmp_path: Path) -> None:
    table = tmp_path / "train.parquet"
    table.write_bytes(b"not read at all")
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT, "digits", "hf:cifar10", str(table)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(said) == 3
    for line, package in zip(said, ("sklearn", "datasets", "pyarrow"), strict=True):
        assert line.startswith(f"DataError {package} is needed to")
        assert line.endswith("pip install 'microglia[data]'")
