"""Batches: whole, normalised, reproducible, resumable."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from microglia.data import Batches, Images
from microglia.data.augment import AUGMENTATIONS, augmentation
from microglia.data.encode import delta, latency, poisson
from microglia.errors import ConfigError, DataError, TrainingError


def numbered(count: int, *, channels: int = 3, side: int = 6, seed: int = 0) -> Images:
    """Random images whose label is their number."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(
        1, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8
    )
    return Images.measured(images, torch.arange(count), tuple(str(i) for i in range(count)))


def whole_pass(batches: Batches) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("count", [1, 20, 21, 27])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("augment", ["none", "crop-flip", "shift"])
def test_a_pass_takes_each_image_once(count: int, drop_last: bool, augment: str) -> None:
    size = 1 if count == 1 else 7
    batches = Batches(numbered(count), batch_size=size, augment=augment, drop_last=drop_last)
    sizes = [len(y) for _, y in batches]
    assert len(sizes) == len(batches)
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert sum(sizes) == (count // size * size if drop_last else count)
    _, labels = whole_pass(batches)
    assert len(labels.unique()) == len(labels)


def test_without_shuffling_the_images_come_in_their_order() -> None:
    images = numbered(23)
    x, y = whole_pass(Batches(images, batch_size=5, shuffle=False))
    assert y.tolist() == list(range(23))
    mean, std = (torch.tensor(s)[:, None, None] for s in (images.mean, images.std))
    assert x.dtype == torch.float32
    assert torch.allclose(x, (images.images.float() / 255 - mean) / std, atol=1e-5)
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)


@pytest.mark.parametrize("augment", ["none", "crop-flip", "shift"])
@pytest.mark.parametrize("seed", [0, 1, 12345678901])
def test_an_epoch_depends_on_seed_and_number_alone(augment: str, seed: int) -> None:
    images = numbered(30)

    def make(seed: int = seed) -> Batches:
        return Batches(images, batch_size=8, augment=augment, seed=seed)

    torch.manual_seed(0)
    one = make()
    first, second, third = (whole_pass(one) for _ in range(3))
    torch.manual_seed(99)
    other = make()
    other.set_epoch(2)
    next(iter(other))  # a pass that is broken off leaves no trace
    assert all(torch.equal(a, b) for a, b in zip(whole_pass(other), third, strict=True))
    other.set_epoch(0)
    assert all(torch.equal(a, b) for a, b in zip(whole_pass(other), first, strict=True))
    assert not torch.equal(first[1], second[1])
    assert not torch.equal(first[1], whole_pass(make(seed + 1))[1])


def test_iterating_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    whole_pass(Batches(numbered(9), batch_size=4, augment="crop-flip"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stop", range(9))
def test_resuming_equals_going_straight_on(stop: int) -> None:
    images = numbered(30)

    def make() -> Batches:
        return Batches(images, batch_size=8, augment="crop-flip", seed=3)

    def taken(batches: Batches, count: int) -> list[tuple[Tensor, Tensor, dict[str, int]]]:
        out: list[tuple[Tensor, Tensor, dict[str, int]]] = []
        while len(out) < count:
            for x, y in batches:
                out.append((x, y, batches.state_dict()))
                if len(out) == count:
                    break
        return out

    straight = taken(make(), 10)
    resumed = make()
    if stop:
        resumed.load_state_dict(json.loads(json.dumps(straight[stop - 1][2])))
        assert resumed.state_dict() == straight[stop - 1][2]
    for a, b in zip(taken(resumed, 10 - stop), straight[stop:], strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
        assert a[2] == b[2]


def reference(image: Tensor, down: int, right: int, flip: bool, pad: int) -> Tensor:
    """One image [C, H, W] shifted by hand, pixel by pixel."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            from_row = row + down - pad
            from_column = (width - 1 - column if flip else column) + right - pad
            if 0 <= from_row < height and 0 <= from_column < width:
                out[:, row, column] = image[:, from_row, from_column]
    return out


@pytest.mark.parametrize("name", ["none", "crop-flip", "shift"])
@pytest.mark.parametrize("shape", [(3, 6, 6), (1, 8, 8), (2, 5, 9)])
def test_augmentation_shifts_and_flips_whole_images(name: str, shape: tuple[int, int, int]) -> None:
    rule = AUGMENTATIONS[name]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (40, *shape), generator=generator, dtype=torch.uint8)
    draws = rule.draw(40, generator)
    augmented = rule.apply(images, draws)
    for image, (down, right, flip), found in zip(images, draws.tolist(), augmented, strict=True):
        assert torch.equal(found, reference(image, down, right, bool(flip), rule.pad))


@pytest.mark.parametrize(("cutout", "side"), [(None, 8), (4, 4), (9, 9)])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 12)])
def test_cutout_blackens_one_square_of_each_image(
    shape: tuple[int, int, int], cutout: int | None, side: int
) -> None:
    rule = augmentation("crop-flip-cutout", cutout=cutout)
    generator = torch.Generator().manual_seed(0)
    images = torch.full((1000, *shape), 7, dtype=torch.uint8)
    draws = rule.draw(1000, generator)
    draws[:, :3] = torch.tensor([rule.pad, rule.pad, 0])  # neither shifted nor flipped
    found = rule.apply(images, draws)
    black = found[:, 0] == 0
    for image, hole in zip(found, black, strict=True):
        assert torch.equal(image == 0, hole.expand_as(image)), "the same place in every channel"
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        assert hole.sum() == len(rows) * len(columns), "one square, cut off at the border"
        assert side // 2 <= len(rows) <= side
        assert side // 2 <= len(columns) <= side
    assert black.flatten(1).sum(1).max() == side * side
    often = black.float().mean(0)
    assert often.min() > 0.03 * (side / 8) ** 2, "every pixel has its turn"


@pytest.mark.parametrize("augment", ["none", "shift", "crop-flip"])
def test_a_cutout_changes_nothing_but_its_square(augment: str) -> None:
    images = dataclasses.replace(numbered(40), mean=(0.0,) * 3, std=(1 / 255,) * 3)

    def pixels(cutout: int | None, name: str = augment) -> Tensor:
        return whole_pass(Batches(images, batch_size=8, augment=name, cutout=cutout))[0]

    plain, holed = pixels(None), pixels(3)
    changed = (plain != holed).any(1)
    assert 0 < changed.flatten(1).sum(1).max() <= 9
    assert not holed.movedim(1, -1)[changed].any()
    assert torch.equal(plain, pixels(0))
    if augment == "crop-flip":
        assert torch.equal(plain, pixels(0, "crop-flip-cutout"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutout": -1}, "at least 0 pixels"),
        ({"cutout": 7}, "at most 6 pixels, the images' own, expected, got 7"),
    ],
)
def test_a_cutout_that_does_not_fit_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Batches(numbered(4), batch_size=2, augment="shift", **settings)
    with pytest.raises(ConfigError, match="is for images"):
        augmentation("events", cutout=3)


def test_encoders_by_hand() -> None:
    x = torch.rand(6, 3, 4, 4, dtype=torch.float64)
    trains = poisson(x, 4000, torch.Generator().manual_seed(0))
    assert set(trains.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(trains.mean(0), x, atol=0.04)
    assert not poisson(torch.zeros_like(x), 50).any()
    assert bool(poisson(torch.ones_like(x), 50).all())
    early = latency(x, 5)
    assert torch.equal(early.sum(0), torch.ones_like(x)), "each value fires once"
    assert torch.equal(early.argmax(0), (4 * (1 - x)).round().long())
    changes = torch.tensor([0.0, 0.5, 0.4, 0.4, -0.3]).reshape(5, 1, 1)
    assert delta(changes, 0.3).flatten(1).tolist() == [[0, 0], [1, 0], [0, 0], [0, 0], [0, 1]]
    for encode in (poisson, latency):
        with pytest.raises(ConfigError, match=r"values in \[0, 1\]"):
            encode(2 * x + 0.5, 3)
    with pytest.raises(ConfigError, match="above 0"):
        delta(changes, 0.0)


@pytest.mark.parametrize("encoder", ["poisson", "latency"])
def test_encoded_batches_are_spikes_of_the_pixels_and_repeat_themselves(encoder: str) -> None:
    images = numbered(20)

    def passes() -> list[Tensor]:
        batches = Batches(images, batch_size=8, encoder=encoder, T=3, seed=4, shuffle=False)
        return [x for _ in range(2) for x, _ in batches]

    first, again = passes(), passes()
    assert [tuple(x.shape) for x in first[:3]] == [(3, 8, 3, 6, 6)] * 2 + [(3, 4, 3, 6, 6)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if encoder == "latency":
        assert torch.equal(first[0], latency(images.images[:8].float() / 255, 3))
    else:
        assert not torch.equal(first[0], first[3]), "the next epoch draws anew"
    for settings in ({"T": None}, {"T": 0}):
        with pytest.raises(ConfigError, match="wants images and T"):
            Batches(images, batch_size=8, encoder=encoder, **settings)
    with pytest.raises(ConfigError, match="Did you mean 'poisson'"):
        Batches(images, batch_size=8, encoder="poison", T=3)


@pytest.mark.parametrize("equalise", [False, True])
def test_changes_of_frames_are_twice_the_channels(equalise: bool) -> None:
    counts = torch.randint(0, 4, (6, 5, 2, 4, 4), dtype=torch.uint8)
    frames = Images(counts, torch.arange(6), tuple("abcdef"), (0.0, 0.0), (1 / 255, 1 / 255))
    settings: dict[str, Any] = {"encoder": "delta", "threshold": 1.5, "equalise": equalise}
    ((spikes, _),) = Batches(frames, batch_size=6, shuffle=False, **settings)
    values = counts.transpose(0, 1).float()
    if equalise:
        values = values / values.mean((0, 2, 3, 4), keepdim=True)
    assert torch.equal(spikes, delta(values, 1.5))
    assert spikes.shape == (5, 6, 4, 4, 4)
    with pytest.raises(ConfigError, match="don't change over time"):
        Batches(numbered(4), batch_size=2, encoder="delta")
    with pytest.raises(ConfigError, match="threshold"):
        Batches(frames, batch_size=2, encoder="delta", threshold=0.0)


@pytest.mark.parametrize("name", ["crop-flip", "shift"])
def test_draws_cover_all_shifts_evenly(name: str) -> None:
    rule = AUGMENTATIONS[name]
    draws = rule.draw(20_000, torch.Generator().manual_seed(1))
    for axis in (0, 1):
        shares = draws[:, axis].bincount() / len(draws)
        assert len(shares) == 2 * rule.pad + 1
        assert torch.allclose(shares, torch.tensor(1 / len(shares)), atol=0.02)
    assert draws[:, 2].float().mean().item() == pytest.approx(0.5 * rule.flip, abs=0.02)


def test_refuses_settings_out_of_range() -> None:
    images = numbered(5)
    with pytest.raises(ConfigError, match="batch_size"):
        Batches(images, batch_size=0)
    with pytest.raises(ConfigError, match="no batch of 5 images"):
        Batches(images, batch_size=6, drop_last=True)
    with pytest.raises(ConfigError, match="seed"):
        Batches(images, batch_size=2, seed=-1)
    with pytest.raises(ConfigError, match="Did you mean 'crop-flip'"):
        Batches(images, batch_size=2, augment="crop_flip")
    with pytest.raises(ConfigError, match="another batch size"):
        Batches(images, batch_size=2).load_state_dict({"epoch": 0, "batch": 3})
    with pytest.raises(ConfigError, match="epoch"):
        Batches(images, batch_size=2).set_epoch(-1)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_refuses_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(TrainingError, match=f"device: '{device}'"):
        Batches(numbered(3), batch_size=1, device=device)


def test_images_must_fit_together() -> None:
    pixels, labels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.arange(4) % 2
    fits = (("a", "b"), (0.5,) * 3, (0.5,) * 3)
    Images(pixels, labels, *fits)
    for bad_pixels, bad_labels, message in (
        (pixels.float(), labels, "uint8"),
        (pixels[0], labels, "uint8"),
        (pixels, labels[:3], r"int64 \[4\]"),
        (pixels, labels.int(), "int64"),
        (pixels, labels + 1, "0 to 1 expected for 2 classes, got 1 to 2"),
        (pixels[:0], labels[:0], "empty"),
        (pixels[:, :1], labels, "1 numbers each"),
    ):
        with pytest.raises(DataError, match=message):
            Images(bad_pixels, bad_labels, *fits)


def test_a_channel_that_never_varies_is_normalised_to_zero() -> None:
    images = Images.measured(
        torch.full((4, 1, 2, 2), 7, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("a",)
    )
    ((x, _),) = Batches(images, batch_size=4)
    assert x.abs().max() < 1e-6
