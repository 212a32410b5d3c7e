"""Images from folders of class sub-folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from image_sources import encode, pixels

from microglia.data import load_images, load_splits
from microglia.errors import ConfigError, DataError


def write_folder(folder: Path, classes: dict[str, int], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Classes with so many images each; returns the pixels of each class."""
    written = {}
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        written[name] = pixels(count, seed=100 * seed + number)
        for i, image in enumerate(written[name]):
            (folder / name / f"{i}.png").write_bytes(encode(image))
    return written


def test_reads_what_was_written(tmp_path: Path) -> None:
    written = write_folder(tmp_path, {"bee": 11, "ant": 9})
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    images = load_images(tmp_path, split="train")
    assert images.classes == ("ant", "bee")
    for label, name in enumerate(images.classes):
        found = images.images[images.labels == label]
        assert {f.numpy().tobytes() for f in found} == {
            w.transpose(2, 0, 1).tobytes() for w in written[name]
        }


def test_a_prefix_holds_every_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 60, "bee": 60})
    whole = load_images(tmp_path, split="train")
    part = load_images(tmp_path, split="train", rows=range(40))
    assert torch.equal(part.images, whole.images[:40])
    assert 8 < int((part.labels == 0).sum()) < 32


def test_the_order_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        write_folder(tmp_path / place, {"ant": 10, "bee": 10})
    here, there = (load_images(tmp_path / place, split="train") for place in ("here", "there"))
    assert torch.equal(here.images, there.images)


def test_splits_and_their_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"ant": 8, "bee": 8, "cat": 8})
    write_folder(tmp_path / "val", {"ant": 3, "cat": 3}, seed=1)
    write_folder(tmp_path / "test", {"cat": 4, "bee": 4}, seed=2)
    splits = load_splits(tmp_path)
    assert splits.train.labels.bincount().tolist() == [8, 8, 8]
    assert splits.validation.labels.bincount(minlength=3).tolist() == [3, 0, 3]
    assert splits.test.labels.bincount(minlength=3).tolist() == [0, 4, 4]
    for part in (splits.validation, splits.test):
        assert (part.mean, part.std) == (splits.train.mean, splits.train.std)
    (tmp_path / "train" / "ape").mkdir()
    (tmp_path / "train" / "ape" / "0.png").write_bytes(encode(pixels(1)[0]))
    assert load_images(tmp_path, split="test").labels.bincount(minlength=4).tolist() == [0, 0, 4, 4]
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(DataError, match="class 'dog' is unknown"):
        load_images(tmp_path, split="test", rows=range(8))


def test_refuses_an_empty_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 3, "bee": 0})
    with pytest.raises(DataError, match="class 'bee' has no image"):
        load_images(tmp_path, split="train")


def test_refuses_a_damaged_image_by_its_path(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 3, "bee": 3})
    (tmp_path / "bee" / "1.png").write_bytes(b"\x89PNG and then nothing")
    with pytest.raises(DataError, match=r"bee/1\.png: not an image"):
        load_images(tmp_path, split="train")


def test_refuses_columns_and_splits_that_a_folder_lacks(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 3, "bee": 3})
    with pytest.raises(ConfigError, match="folder of image files"):
        load_images(tmp_path, split="train", label_column="label")
    with pytest.raises(DataError, match="no 'test' split of its own"):
        load_images(tmp_path, split="test")
