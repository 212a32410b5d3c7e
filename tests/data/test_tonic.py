"""Sets that Tonic reads, from files of their layout; and what is said where there are none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

tonic = pytest.importorskip("tonic", reason="microglia[tonic] isn't installed")

from microglia.data import load_images  # noqa: E402
from microglia.errors import ConfigError, DataError  # noqa: E402


def recording(seed: int, *, side: int, count: int = 50) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(seed)
    return {
        "t": np.sort(dice.integers(0, 8_000, count)),
        "x": dice.integers(0, side, count),
        "y": dice.integers(0, side, count),
        "p": dice.integers(0, 2, count),
    }


def write_nmnist(root: Path) -> dict[str, list[tuple[int, dict[str, np.ndarray]]]]:
    """Five bytes an event: x, y, and polarity with 23 bits of time."""
    written: dict[str, list[tuple[int, dict[str, np.ndarray]]]] = {}
    for split, folder, archive in (("train", "Train", "train.zip"), ("test", "Test", "test.zip")):
        for digit in range(10):
            for n in range(2):
                events = recording(100 * digit + n + (split == "test"), side=34)
                raw = np.zeros((50, 5), np.uint8)
                raw[:, 0], raw[:, 1] = events["x"], events["y"]
                raw[:, 2] = (events["p"] << 7) | (events["t"] >> 16)
                raw[:, 3], raw[:, 4] = events["t"] >> 8 & 255, events["t"] & 255
                place = root / "NMNIST" / folder / str(digit) / f"{n:05}.bin"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(raw.tobytes())
                written.setdefault(split, []).append((digit, events))
        (root / "NMNIST" / archive).write_bytes(b"")
    return written


def write_gesture(root: Path) -> dict[str, list[tuple[int, dict[str, np.ndarray]]]]:
    """Arrays of x, y, p and t in milliseconds."""
    written: dict[str, list[tuple[int, dict[str, np.ndarray]]]] = {}
    for split, part in (("train", "ibmGestureTrain"), ("test", "ibmGestureTest")):
        for label in range(11):
            events = recording(label + 50 * (split == "test"), side=128)
            array = np.stack([events[name] for name in "xypt"], axis=1).astype(float)
            place = root / "DVSGesture" / part / "user01_led" / f"{label}.npy"
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place, array)
            written.setdefault(split, []).append((label, events))
        (root / "DVSGesture" / f"{part}.tar.gz").write_bytes(b"")
    return written


WRITERS: dict[str, Callable[[Path], Any]] = {"NMNIST": write_nmnist, "DVSGesture": write_gesture}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MICROGLIA_DATA", str(tmp_path))
    # Tonic counts the files of the whole set before it believes that it was unpacked.
    monkeypatch.setattr(
        tonic.datasets.nmnist.NMNIST,
        "_folder_contains_at_least_n_files_of_type",
        lambda self, n, kind: bool(list(Path(self.location_on_system).rglob(f"*{kind}"))),
    )
    monkeypatch.setattr(
        tonic.datasets.DVSGesture,
        "_folder_contains_at_least_n_files_of_type",
        lambda self, n, kind: bool(list(Path(self.location_on_system).rglob(f"*{kind}"))),
    )
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_event_of_the_files_is_in_a_frame(root: Path, name: str, split: str) -> None:
    written = WRITERS[name](root)[split]
    side = 34 if name == "NMNIST" else 128
    images = load_images(f"tonic:{name}", split=split, T=3)
    assert images.images.shape == (len(written), 3, 2, side, side)
    by_label: dict[int, list[np.ndarray]] = {}
    for label, events in written:
        total = np.zeros((2, side, side), int)
        np.add.at(total, (events["p"], events["y"], events["x"]), 1)
        by_label.setdefault(label, []).append(total)
    for frames, label in zip(images.images, images.labels.tolist(), strict=True):
        found = frames.sum(0, dtype=torch.long).numpy()
        assert any(np.array_equal(found, total) for total in by_label[label])
    some = load_images(f"tonic:{name}", split=split, T=3, rows=range(2, 9, 3))
    assert torch.equal(some.images, images.images[2:9:3])


def test_the_last_tenth_of_each_class_of_cifar10_dvs_tests(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "CIFAR10DVS"
    for label in tonic.datasets.CIFAR10DVS.classes:
        (folder / label).mkdir(parents=True)
        for n in range(20):
            (folder / label / f"{n:04}.aedat4").write_bytes(b"")
    module = tonic.datasets.cifar10dvs

    def read(path: str) -> np.ndarray:
        number = int(Path(path).stem)
        events = recording(number, side=128)
        fields = [("t", np.uint64), ("x", np.uint16), ("y", np.uint16), ("p", bool)]
        found = np.zeros(50, fields)
        for name in "txyp":
            found[name] = events[name]
        found["t"] += np.uint64(10**15)
        return found

    monkeypatch.setattr(module, "read_aedat4", read)
    monkeypatch.setattr(module.CIFAR10DVS, "_check_exists", lambda self: True)
    train = load_images("tonic:CIFAR10DVS", split="train", T=2, size=16)
    test = load_images("tonic:CIFAR10DVS", split="test", T=2, size=16)
    assert train.labels.bincount().tolist() == [18] * 10
    assert test.labels.bincount().tolist() == [2] * 10
    assert int(test.images.sum()) == 20 * 50

    def frames_of(number: int) -> np.ndarray:
        events = recording(number, side=128)
        total = np.zeros((2, 16, 16), int)
        np.add.at(total, (events["p"].astype(int), events["y"] // 8, events["x"] // 8), 1)
        return total

    for part, numbers in ((train, range(18)), (test, range(18, 20))):
        sums = part.images[part.labels == 0].sum(1, dtype=torch.long).numpy()
        for found, number in zip(sums, numbers, strict=True):
            assert np.array_equal(found, frames_of(number)), "in the order of the files' names"
    assert test.classes[0] == "airplane"


def test_a_set_that_is_not_here_says_how_large_it_is_and_where_it_goes(root: Path) -> None:
    for name, size in (("NMNIST", "1.2 GB"), ("DVSGesture", "2.9 GB"), ("CIFAR10DVS", "7.9 GB")):
        with pytest.raises(DataError) as refused:
            load_images(f"tonic:{name}", split="train", T=2)
        for word in (size, str(root / name), "https://", f"tonic.datasets.{name}"):
            assert word in str(refused.value)
    assert list(root.iterdir()) == []
    with pytest.raises(DataError, match="Did you mean 'NMNIST'"):
        load_images("tonic:NMINST", split="train", T=2)
    with pytest.raises(ConfigError, match="give T"):
        load_images("tonic:NMNIST", split="train")
    with pytest.raises(DataError, match="no validation part"):
        load_images("tonic:NMNIST", split="validation", T=2)


def test_recordings_that_are_added_later_are_seen(root: Path) -> None:
    write_nmnist(root)
    before = load_images("tonic:NMNIST", split="test", T=2)
    shutil.copytree(root / "NMNIST" / "Test" / "3", root / "more")
    for i, file in enumerate((root / "more").iterdir()):
        file.rename(root / "NMNIST" / "Test" / "3" / f"9{i:04}.bin")
    after = load_images("tonic:NMNIST", split="test", T=2)
    assert len(after) > len(before)
