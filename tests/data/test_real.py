"""The real data sets, where MICROGLIA_DATA holds them."""

from pathlib import Path

import pytest
import torch

from microglia.data import CIFAR10_VALIDATION, load_images, load_splits
from microglia.data.sequences import load_sequences
from microglia.data.series import Scale, read_series
from microglia.errors import DataError


def test_cifar10_tiers(real_data: Path) -> None:
    splits = load_splits(
        real_data / "cifar10", train_rows=range(1_000), validation_rows=CIFAR10_VALIDATION
    )
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1_000, 2_000, 10_000)
    assert splits.train.images.shape[1:] == (3, 32, 32)
    assert splits.train.classes[0] == "airplane"
    assert splits.test.labels.bincount().tolist() == [1_000] * 10
    assert splits.train.labels.bincount().min() > 60
    assert all(0.4 < m < 0.55 for m in splits.train.mean)
    assert all(0.2 < s < 0.3 for s in splits.train.std)
    again = load_images(real_data / "cifar10", split="train", rows=range(990, 1_010))
    assert torch.equal(again.images[:10], splits.train.images[-10:])


@pytest.mark.parametrize(("label_column", "classes"), [(None, 100), ("coarse_label", 20)])
def test_cifar100(real_data: Path, label_column: str | None, classes: int) -> None:
    images = load_images(
        real_data / "cifar100", split="train", rows=range(200), label_column=label_column
    )
    assert len(images.classes) == classes


def test_tiny_imagenet_has_grey_images_and_one_held_out_part(real_data: Path) -> None:
    images = load_images(real_data / "tiny_imagenet_20", split="test")
    assert images.images.shape == (1_000, 3, 64, 64)
    assert len(images.classes) == 20


@pytest.mark.parametrize(
    ("name", "counts"), [("nmnist_small", (1_000, 100)), ("dvs128_objects5", (2_040, 944))]
)
def test_event_recordings(real_data: Path, name: str, counts: tuple[int, int]) -> None:
    for split, count in zip(("train", "test"), counts, strict=True):
        images = load_images(real_data / name, split=split, T=4, size=32)
        assert images.images.shape == (count, 4, 2, 32, 32)
        per_sample = images.images.flatten(1).sum(1)
        assert 300 < per_sample.min() < per_sample.max() < 8_000
        assert len(images.labels.unique()) == len(images.classes)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("NATOPS", (180, 51, 24)), ("JapaneseVowels", (270, 26, 12)), ("PenDigits", (7_494, 8, 2))],
)
def test_sequences(real_data: Path, name: str, shape: tuple[int, ...]) -> None:
    train = load_sequences(real_data / "sequences" / f"{name}.npz", split="train")
    test = load_sequences(real_data / "sequences" / f"{name}.npz", split="test")
    assert train.values.shape == shape
    assert train.classes == test.classes
    assert test.scaled_like(train).values.abs().max() < 30


@pytest.mark.parametrize(
    ("name", "points", "variables"),
    [
        ("ETTh1", 17_420, 7),
        ("exchange_rate", 7_588, 8),
        ("goog_daily_2004_2019", 3_685, 6),
        ("monthly-sunspots", 2_820, 1),
    ],
)
def test_series(real_data: Path, name: str, points: int, variables: int) -> None:
    series = read_series(real_data / "timeseries" / f"{name}.csv")
    assert series.values.shape == (points, variables)
    train, _, test = series.split(0.7, 0.1, 0.2)
    assert torch.isfinite(Scale.fitted(train).apply(test).values).all()


def test_a_series_with_gaps_says_where(real_data: Path) -> None:
    path = real_data / "timeseries" / "wind_gefcom2012.csv"
    with pytest.raises(DataError, match=r"gap in 'date' between rows (\d+)") as refused:
        read_series(path)
    rows = range(int(str(refused.value).split("range(0, ")[1].rstrip(")")))
    assert len(read_series(path, rows=rows)) > 10_000
