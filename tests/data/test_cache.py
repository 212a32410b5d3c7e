"""The cache of decoded images: right, whole, and never in the way."""

import os
from pathlib import Path

import pytest
import torch
from image_sources import WriteParquet, encode, pixels

from microglia.data import Images, load_images
from microglia.data import load as load_module


def source(write_parquet: WriteParquet, *, seed: int = 0, count: int = 12) -> Path:
    files = [encode(p) for p in pixels(count, seed=seed)]
    return write_parquet("train.parquet", files, [i % 3 for i in range(count)])


def same(a: Images, b: Images) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and (a.classes, a.mean, a.std) == (b.classes, b.mean, b.std)
    )


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Images:
        raise AssertionError("decoded although it was in the cache")

    monkeypatch.setattr(load_module, "decode", refuse)


def test_a_source_is_decoded_once(
    write_parquet: WriteParquet, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source(write_parquet)
    first = load_images(path, split="train")
    assert [p.suffix for p in cache.iterdir()] == [".safetensors"]
    forbid_decoding(monkeypatch)
    assert same(first, load_images(path, split="train"))


def test_what_was_asked_for_tells_entries_apart(write_parquet: WriteParquet, cache: Path) -> None:
    path = source(write_parquet)
    whole = load_images(path, split="train")
    part = load_images(path, split="train", rows=range(6))
    small = load_images(path, split="train", size=4)
    assert len(list(cache.iterdir())) == 3
    assert (len(whole), len(part), small.images.shape[-1]) == (12, 6, 4)


def test_a_changed_source_is_read_again(write_parquet: WriteParquet) -> None:
    before = load_images(source(write_parquet, seed=0), split="train")
    after = load_images(source(write_parquet, seed=1), split="train")
    assert not torch.equal(before.images, after.images)


def test_a_change_that_keeps_the_size_is_seen(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "0.bmp"
        path.write_bytes(encode(pixels(1)[0], kind="BMP"))
    before = load_images(tmp_path, split="train")
    length, changed = path.stat().st_size, path.stat().st_mtime + 1
    path.write_bytes(encode(pixels(1, seed=1)[0], kind="BMP"))
    assert path.stat().st_size == length
    os.utime(path, (changed, changed))
    after = load_images(tmp_path, split="train")
    assert not torch.equal(before.images, after.images)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.9])
def test_a_damaged_entry_is_replaced(
    write_parquet: WriteParquet, cache: Path, monkeypatch: pytest.MonkeyPatch, keep: float
) -> None:
    path = source(write_parquet)
    first = load_images(path, split="train")
    expected = Images(
        first.images.clone(), first.labels.clone(), first.classes, first.mean, first.std
    )
    (entry,) = cache.iterdir()
    content = entry.read_bytes()
    entry.unlink()
    entry.write_bytes(content[: int(len(content) * keep)])
    assert same(expected, load_images(path, split="train"))
    forbid_decoding(monkeypatch)
    assert same(expected, load_images(path, split="train"))


def test_a_cache_that_cannot_be_written_only_warns(
    write_parquet: WriteParquet, cache: Path
) -> None:
    cache.write_text("a file stands where the folder should be")
    with pytest.warns(UserWarning, match="the image cache can't be written"):
        assert len(load_images(source(write_parquet), split="train")) == 12


def test_a_failed_write_leaves_nothing_behind(
    write_parquet: WriteParquet, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microglia.data import cache as cache_module

    def disk_full(_tensors: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "save_file", disk_full)
    with pytest.warns(UserWarning, match="No space left"):
        assert len(load_images(source(write_parquet), split="train")) == 12
    assert list(cache.iterdir()) == []
