"""Events in frames: every event once, in its place; damaged recordings are refused by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from microglia.data import Batches, events, load_images, load_splits
from microglia.data.augment import EventJitter
from microglia.data.events import Events, frames
from microglia.errors import ConfigError, DataError

SENSOR = (6, 8)  # height, width


def recordings(*, seed: int = 0, samples: int = 7, classes: int = 3) -> dict[str, Any]:
    """Columns of a file, with recordings of unequal length."""
    dice = np.random.default_rng(seed)
    counts = dice.integers(1, 60, samples)
    total = int(counts.sum())
    return {
        "t": np.concatenate([np.sort(dice.integers(5, 1000, n)) for n in counts]).astype(np.uint32),
        "x": dice.integers(0, SENSOR[1], total).astype(np.uint8),
        "y": dice.integers(0, SENSOR[0], total).astype(np.uint8),
        "p": dice.integers(0, 2, total).astype(np.uint8),
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "label": np.arange(samples) % classes,
    }


def write(path: Path, parts: dict[str, dict[str, Any]], **attributes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["classes"] = json.dumps([f"class {i}" for i in range(3)])
        file.attrs["meta"] = json.dumps({"height": SENSOR[0], "width": SENSOR[1]})
        for name, value in attributes.items():
            file.attrs[name] = value
        for split, columns in parts.items():
            for name, values in columns.items():
                file.create_dataset(f"{split}/{name}", data=values)
    return path


def as_events(columns: dict[str, Any]) -> Events:
    return Events(
        **{name: columns[name] for name in ("t", "x", "y", "p", "offsets")},
        labels=columns["label"],
        classes=("a", "b", "c"),
        sensor=SENSOR,
        source="here",
    )


def by_hand(columns: dict[str, Any], *, T: int, by: str, size: int | None) -> np.ndarray:
    """The same sums, one event at a time."""
    height, width = (size, size) if size else SENSOR
    offsets = columns["offsets"]
    whole = np.zeros((len(offsets) - 1, T, 2, height, width), int)
    for i, (begin, end) in enumerate(itertools.pairwise(offsets)):
        first, last = int(columns["t"][begin]), int(columns["t"][end - 1])
        for n, event in enumerate(range(begin, end)):
            t, x, y, p = (int(columns[name][event]) for name in "txyp")
            if by == "count":
                step = n * T // int(end - begin)
            else:
                step = min(T - 1, (t - first) * T // max(1, last - first))
            whole[i, step, p, y * height // SENSOR[0], x * width // SENSOR[1]] += 1
    return whole


@pytest.mark.parametrize("size", [None, 6, 3])
@pytest.mark.parametrize("by", ["time", "count"])
@pytest.mark.parametrize("T", [1, 4, 5])
def test_each_event_is_counted_once_in_its_place(
    T: int, by: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, chunk in ((0, 1), (1, 40), (2, 1 << 22)):
        monkeypatch.setattr(events, "CHUNK", chunk)
        columns = recordings(seed=seed)
        summed = frames(as_events(columns), T=T, by=by, size=size)  # type: ignore[arg-type]
        expected = by_hand(columns, T=T, by=by, size=size)
        assert torch.equal(summed.images, torch.from_numpy(expected).to(torch.uint8))
        assert summed.labels.tolist() == columns["label"].tolist()
        assert summed.frames == T


def test_more_than_255_events_are_255() -> None:
    columns = recordings(samples=1)
    count = 700
    columns |= {
        "t": np.zeros(count, np.uint32),
        **{name: np.zeros(count, np.uint8) for name in "xyp"},
        "offsets": np.array([0, count]),
    }
    assert frames(as_events(columns), T=1).images.max() == 255


def test_batches_hold_numbers_of_events_time_first(tmp_path: Path) -> None:
    columns = recordings()
    path = write(tmp_path / "set" / "events.h5", {"train": columns, "test": recordings(seed=1)})
    loaded = load_images(path.parent, split="train", T=4, split_by="count", size=6)
    (batch, labels), *rest = Batches(loaded, batch_size=5, shuffle=False)
    assert batch.shape == (4, 5, 2, 6, 6)
    assert len(rest) == 1
    expected = by_hand(columns, T=4, by="count", size=6)[:5]
    torch.testing.assert_close(batch, torch.from_numpy(expected).float().transpose(0, 1))
    assert labels.tolist() == columns["label"][:5].tolist()


def test_jittered_recordings_lose_events_and_repeat_themselves(tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings(samples=40)})
    images = load_images(path, split="train", T=2, size=6)

    def epoch(seed: int) -> torch.Tensor:
        batches = Batches(images, batch_size=40, augment="events", seed=seed)
        x, labels = next(iter(batches))
        return x[:, labels.argsort(stable=True)]

    assert torch.equal(epoch(3), epoch(3))
    assert not torch.equal(epoch(3), epoch(4))
    rule = EventJitter(zoom=0.0, turn=0.0, shift=0.0, keep=0.5)
    flat = images.images.flatten(1, 2)
    draws = rule.draw(40, torch.Generator().manual_seed(0))
    kept = rule.apply(flat, draws)
    assert torch.allclose(kept, kept.round(), atol=1e-4), "nothing moved, so counts stay whole"
    assert bool((kept <= flat + 1e-4).all())
    share = kept.sum() / flat.sum()
    assert 0.6 < share < 0.9
    same = EventJitter(zoom=0.0, turn=0.0, shift=0.0, keep=1.0)
    assert torch.allclose(
        same.apply(flat, same.draw(40, torch.Generator().manual_seed(1))), flat.float(), atol=1e-4
    )
    half = EventJitter(zoom=0.0, turn=0.0, shift=0.5, keep=1.0)
    draws = half.draw(40, torch.Generator().manual_seed(2))
    draws[:, 2:4] = torch.tensor([0.5, 0.0])  # half of the side: three of six pixels
    moved = half.apply(flat, draws)
    assert torch.allclose(moved[..., :3], flat[..., 3:].float(), atol=1e-4)
    assert moved[..., 3:].abs().max() < 1e-3


def test_equalised_recordings_have_the_same_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings()})
    images = load_images(path, split="train", T=3)
    plain = next(iter(Batches(images, batch_size=7, shuffle=False)))[0]
    equal = next(iter(Batches(images, batch_size=7, shuffle=False, equalise=True)))[0]
    assert torch.allclose(equal.mean((0, 2, 3, 4)), torch.ones(7))
    ratio = plain.mean((0, 2, 3, 4), keepdim=True)
    assert torch.allclose(equal * ratio, plain, atol=1e-5)
    still = type(images)(images.images[:, 0], images.labels, images.classes, (0, 0), (1, 1))
    with pytest.raises(ConfigError, match="equalise"):
        Batches(still, batch_size=2, equalise=True)


def test_all_frames_of_a_sample_are_moved_alike(tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings()})
    still = load_images(path, split="train", T=1, size=6)
    repeated = type(still)(
        still.images.expand(-1, 3, -1, -1, -1).contiguous(),
        still.labels,
        still.classes,
        still.mean,
        still.std,
    )
    for batch, _ in Batches(repeated, batch_size=4, augment="crop-flip", seed=1):
        assert torch.equal(batch[0], batch[1])
        assert torch.equal(batch[0], batch[2])
        assert batch.any()


def test_rows_and_splits(tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings(samples=30), "valid": recordings()})
    whole = load_images(path, split="train", T=2)
    some = load_images(path, split="train", T=2, rows=range(3, 20, 4))
    assert torch.equal(some.images, whole.images[range(3, 20, 4)])
    splits = load_splits(path, T=2, validation_share=0.25)
    expected = [i for i in range(30) if i // 3 >= 8]  # of each class's 10 the last 2
    assert torch.equal(splits.validation.images, whole.images[expected])
    assert len(splits.train) == 24
    assert splits.train.std == splits.test.std == (1 / 255, 1 / 255)
    assert len(splits.test) == 7, "the file's validation part serves as the test split"


Spoil = Callable[[dict[str, Any]], Any]

DAMAGED: dict[str, tuple[Spoil, str]] = {
    "offsets that go backwards": (
        lambda c: c["offsets"].__setitem__(2, c["offsets"][1] - 1),
        r"sample 1: offsets that go backwards",
    ),
    "a sample without events": (
        lambda c: c["offsets"].__setitem__(2, c["offsets"][1]),
        "sample 1: no events",
    ),
    "offsets past the end": (lambda c: c["offsets"].__setitem__(-1, 10**6), "offsets run from 0"),
    "offsets that begin late": (lambda c: c["offsets"].__setitem__(0, 1), "offsets run from 1"),
    "an offset missing": (lambda c: c.update(offsets=c["offsets"][:-1]), "one offset more"),
    "x out of the sensor": (lambda c: c["x"].__setitem__(0, 8), "sample 0, event 0: x wants"),
    "y out of the sensor": (lambda c: c["y"].__setitem__(-1, 6), "sample 6, event .*: y wants"),
    "a third polarity": (lambda c: c["p"].__setitem__(0, 2), "p wants values from 0 to 1"),
    "times that go backwards": (
        lambda c: c["t"].__setitem__(int(c["offsets"][1]), 10**6),
        "sample 1, event .*: times go backwards",
    ),
    "a label out of range": (lambda c: c["label"].__setitem__(3, 3), "sample 3: label 3"),
    "a label below zero": (lambda c: c["label"].__setitem__(3, -1), "sample 3: label -1"),
    "an empty class": (lambda c: c["label"].__setitem__(slice(None), 0), "'class 1' has no"),
    "columns of unequal length": (lambda c: c.update(x=c["x"][:-1]), "differ in length"),
    "fractions": (lambda c: c.update(t=c["t"] / 2), "'t' wants whole numbers"),
    "two axes": (lambda c: c.update(x=c["x"][:, None]), "'x' wants whole numbers in one row"),
    "a column missing": (lambda c: c.pop("p"), "p missing"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_recordings_are_refused(what: str, tmp_path: Path) -> None:
    spoil, message = DAMAGED[what]
    columns = recordings()
    spoil(columns)
    path = write(tmp_path / "events.h5", {"train": columns})
    with pytest.raises(DataError, match=message):
        load_images(path, split="train", T=2)


@pytest.mark.parametrize("content", [b"", b"no HDF5", "half"])
def test_a_file_that_is_not_whole(content: bytes | str, tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings()})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(DataError, match="not a whole HDF5 file"):
        load_images(path, split="train", T=2)


@pytest.mark.parametrize(
    "attributes",
    [{"classes": "three"}, {"classes": "[]"}, {"meta": "{}"}, {"meta": "wide"}, {"classes": 3}],
)
def test_attributes_that_make_no_sense(attributes: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings()}, **attributes)
    with pytest.raises(DataError, match="classes"):
        load_images(path, split="train", T=2)


def test_settings_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path / "events.h5", {"train": recordings(), "test": recordings()})
    for settings, message in (
        ({}, "T: .* holds events"),
        ({"T": 0}, "at least 1 frame"),
        ({"T": 2, "split_by": "event"}, "split_by: 'event' is unknown"),
        ({"T": 2, "size": 7}, "at most 6 pixels"),
        ({"T": 2, "label_column": "label"}, "label_column"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_images(path, split="train", **settings)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no 'validation' split"):
        load_splits(path, T=2)
    with pytest.raises(ConfigError, match="takes the place"):
        load_splits(path, T=2, validation_share=0.5, train_rows=range(2))
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(ConfigError, match="fraction in"):
            load_splits(path, T=2, validation_share=share)
    with pytest.raises(DataError, match="none would be left"):
        load_splits(path, T=2, validation_share=0.9)
