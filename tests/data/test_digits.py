"""Scikit-learn's digits and their fixed splits."""

import pytest
import torch
from sklearn.datasets import load_digits

from microglia.data import load_images, load_splits
from microglia.errors import ConfigError, DataError


def test_splits_are_stratified_disjoint_and_whole() -> None:
    parts = [load_images("digits", split=split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1197, 300, 300]
    for part in parts[1:]:
        assert part.labels.bincount().tolist() == [30] * 10
    together = torch.cat([part.images for part in parts]).flatten(1)
    expected = torch.from_numpy(load_digits().data * 255 / 16).round().to(torch.uint8)
    # As multisets of images: the same rows once sorted.
    order = [sorted(map(tuple, rows.tolist())) for rows in (together, expected)]
    assert order[0] == order[1]


def test_labels_belong_to_their_images() -> None:
    digits = load_digits()
    known = {
        tuple(row): int(label)
        for row, label in zip(
            (digits.data * 255 / 16).round().astype(int).tolist(), digits.target, strict=True
        )
    }
    for split in ("train", "validation", "test"):
        part = load_images("digits", split=split)
        found = [known[tuple(row)] for row in part.images.flatten(1).tolist()]
        assert found == part.labels.tolist()


def test_every_split_is_mixed_and_always_the_same() -> None:
    for split in ("train", "validation", "test"):
        a, b = (load_images("digits", split=split) for _ in range(2))
        assert torch.equal(a.images, b.images)
        assert len(a.labels[:60].unique()) == 10
    # Fixed for good: results of different versions are comparable.
    assert load_images("digits", split="test").labels[:8].tolist() == FIRST_TEST_LABELS


FIRST_TEST_LABELS = [0, 6, 5, 2, 8, 9, 1, 0]


def test_all_are_normalised_by_the_training_split() -> None:
    splits = load_splits("digits")
    for part in (splits.validation, splits.test, load_images("digits", split="test")):
        assert (part.mean, part.std) == (splits.train.mean, splits.train.std)
    scaled = splits.train.images.double() / 255
    assert splits.train.mean[0] == pytest.approx(float(scaled.mean()))


def test_rows_and_refusals() -> None:
    part = load_images("digits", split="train", rows=range(100, 200))
    assert torch.equal(part.images, load_images("digits", split="train").images[100:200])
    with pytest.raises(DataError, match="rows run from 0 to 299"):
        load_images("digits", split="test", rows=range(300, 310))
    with pytest.raises(ConfigError, match="8x8"):
        load_images("digits", split="test", size=32)
