"""Images from Parquet files."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from image_sources import WriteParquet, encode, pixels
from PIL import Image

from microglia.data import encoded, load_images
from microglia.data.huggingface import KNOWN
from microglia.errors import ConfigError, DataError

NAMES = ("ant", "bee", "cat")


def labels_for(count: int) -> list[int]:
    return [i % 3 for i in range(count)]


@pytest.mark.parametrize("struct", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_reads_what_was_written(write_parquet: WriteParquet, struct: bool, seed: int) -> None:
    written = pixels(20, seed=seed)
    path = write_parquet(
        "train.parquet", [encode(p) for p in written], labels_for(20), names=NAMES, struct=struct
    )
    for source in (path, path.parent):
        images = load_images(source, split="train")
        assert torch.equal(images.images, torch.from_numpy(written.transpose(0, 3, 1, 2).copy()))
        assert images.labels.tolist() == labels_for(20)
        assert images.classes == NAMES
        scaled = images.images.double() / 255
        assert torch.allclose(torch.tensor(images.mean).double(), scaled.mean((0, 2, 3)))
        deviation = scaled.std((0, 2, 3), correction=0)
        assert torch.allclose(torch.tensor(images.std).double(), deviation)


@pytest.mark.parametrize("chunk", [1, 3, 19, 20, 21])
def test_decoding_in_chunks_keeps_the_order(
    write_parquet: WriteParquet, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(encoded, "CHUNK", chunk)
    written = pixels(20)
    path = write_parquet("train.parquet", [encode(p) for p in written], labels_for(20))
    images = load_images(path, split="train").images
    assert torch.equal(images, torch.from_numpy(written.transpose(0, 3, 1, 2).copy()))


@pytest.mark.parametrize("rows", [range(5), range(6, 15), range(3, 20, 4), range(19, 20)])
def test_rows_pick_part_of_a_split(write_parquet: WriteParquet, rows: range) -> None:
    path = write_parquet("train.parquet", [encode(p) for p in pixels(20)], labels_for(20))
    whole = load_images(path, split="train")
    part = load_images(path, split="train", rows=rows)
    assert torch.equal(part.images, whole.images[list(rows)])
    assert torch.equal(part.labels, whole.labels[list(rows)])
    assert part.classes == whole.classes == ("0", "1", "2")


def test_shards_are_one_table(write_parquet: WriteParquet) -> None:
    written = [encode(p) for p in pixels(20)]
    for shard, part in enumerate((slice(0, 9), slice(9, 20))):
        path = write_parquet(
            f"set/train-0000{shard}-of-00002.parquet", written[part], labels_for(20)[part]
        )
    whole = load_images(path.parent, split="train")
    across = load_images(path.parent, split="train", rows=range(7, 13))
    assert len(whole) == 20
    assert torch.equal(across.images, whole.images[7:13])


def test_grey_and_palette_images_become_rgb(write_parquet: WriteParquet) -> None:
    grey = pixels(1)[0, :, :, 0]
    files = [
        encode(Image.fromarray(grey)),
        encode(Image.fromarray(grey), kind="JPEG"),
        encode(Image.fromarray(grey).convert("P")),
        encode(Image.fromarray(grey).convert("RGBA")),
        encode(Image.fromarray(grey).convert("1")),
        encode(Image.fromarray(pixels(1)[0]), kind="JPEG"),
    ]
    path = write_parquet("train.parquet", files, labels_for(6))
    images = load_images(path, split="train").images
    assert images.shape == (6, 3, 8, 8)
    for i in range(5):
        assert torch.equal(images[i, 0], images[i, 1])
        assert torch.equal(images[i, 0], images[i, 2])
    assert np.array_equal(images[0, 0].numpy(), grey)
    assert np.array_equal(images[3, 0].numpy(), grey)


def test_images_of_several_sizes_need_one_size(write_parquet: WriteParquet) -> None:
    sides = (8, 12, 20)
    files = [encode(pixels(1, side=s)[0]) for s in sides] * 2
    files.append(encode(pixels(1, side=8)[0][:, :5]))
    path = write_parquet("train.parquet", files, labels_for(7))
    with pytest.raises(DataError, match=r"row 1: 12x12 pixels, but .* row 0 has 8x8; give size="):
        load_images(path, split="train")
    images = load_images(path, split="train", size=8)
    assert images.images.shape == (7, 3, 8, 8)
    assert torch.equal(images.images[0], torch.from_numpy(pixels(1)[0].transpose(2, 0, 1).copy()))


def test_columns_are_found_or_named(write_parquet: WriteParquet) -> None:
    files = [encode(p) for p in pixels(6)]
    other = {"coarse": [i % 2 for i in range(6)]}
    path = write_parquet("a.parquet", files, labels_for(6), label="fine", extra=other)
    with pytest.raises(DataError, match="Give label_column=, one of fine, coarse"):
        load_images(path, split="train")
    assert len(load_images(path, split="train", label_column="coarse").classes) == 2
    assert len(load_images(path, split="train", label_column="fine").classes) == 3
    usual = write_parquet("b.parquet", files, labels_for(6), label="fine_label", extra=other)
    assert len(load_images(usual, split="train").classes) == 3


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"image_column": "imgs"}, "no column 'imgs'. Did you mean 'img'"),
        ({"label_column": "lable"}, "no column 'lable'. Did you mean 'label'"),
        ({"label_column": "img"}, "'img' should hold integer labels"),
        ({"image_column": "label"}, "'label' should hold encoded images"),
        ({"rows": range(4, 7)}, "rows 4 to 6 were asked for, it has 0 to 5"),
        ({"rows": range(0)}, "no rising range"),
        ({"rows": range(5, 1, -1)}, "no rising range"),
    ],
)
def test_refuses_what_the_table_does_not_have(
    write_parquet: WriteParquet, wanted: dict[str, object], message: str
) -> None:
    path = write_parquet("train.parquet", [encode(p) for p in pixels(6)], labels_for(6))
    load_images(path, split="train")  # what is in the cache must not hide a fault
    with pytest.raises(DataError, match=message):
        load_images(path, split="train", **wanted)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 2, 3, 0, 1], NAMES, r"outside the 3 classes \(0 to 2\), the first in row 3: 3"),
        ([0, 1, -1, 2, 0, 1], None, r"the first in row 2: -1"),
        ([0, 1, None, 2, 0, 1], NAMES, "1 of 6 rows of 'label' are empty"),
        ([0, 2, 0, 2, 0, 2], NAMES, r"1 of 3 classes have no image, the first is 1 \('bee'\)"),
        ([0, 1, 0, 1, 0, 1], NAMES, r"the first is 2 \('cat'\)"),
        ([0, 1, 7, 7, 0, 1], None, "5 of 8 classes have no image, the first is 2"),
    ],
)
def test_refuses_labels_that_make_no_sense(
    write_parquet: WriteParquet, labels: list[int], names: tuple[str, ...] | None, message: str
) -> None:
    files = [encode(p) for p in pixels(6)]
    path = write_parquet("train.parquet", files, labels, names=names)
    with pytest.raises(DataError, match=message):
        load_images(path, split="train")


def test_a_test_set_may_lack_a_class(write_parquet: WriteParquet) -> None:
    files = [encode(p) for p in pixels(4)]
    path = write_parquet("set/test.parquet", files, [0, 2, 0, 2], names=NAMES)
    assert load_images(path.parent, split="test").classes == NAMES


def test_refuses_images_that_cannot_be_read(write_parquet: WriteParquet) -> None:
    good = encode(pixels(1)[0], kind="JPEG")
    deep = encode(Image.fromarray(np.full((8, 8), 999, dtype=np.uint16)))
    for number, (bad, message) in enumerate(
        [
            (b"no image at all", "row 3: not an image"),
            (good[: len(good) // 2], "row 3: not an image"),
            (encode(pixels(1)[0])[:60], "row 3: not an image"),
            (b"", "row 3: holds no image"),
            (None, "row 3: holds no image"),
            (deep, "row 3: its pixels have more than 8 bits"),
        ]
    ):
        files = [good, good, good, bad, good, good]
        path = write_parquet(f"{number}.parquet", files, labels_for(6))
        with pytest.raises(DataError, match=message):
            load_images(path, split="train")


def test_refuses_a_damaged_file(write_parquet: WriteParquet, tmp_path: Path) -> None:
    path = write_parquet("whole.parquet", [encode(p) for p in pixels(30)], labels_for(30))
    whole = path.read_bytes()
    faults = {
        "truncated": whole[: len(whole) * 2 // 3],
        "headless": whole[200:],
        "empty": b"",
        "foreign": b"img,label\n1,2\n",
        "holed": whole[:100] + bytes(2000) + whole[2100:],
    }
    for name, content in faults.items():
        damaged = tmp_path / f"{name}.parquet"
        damaged.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}.parquet"):
            load_images(damaged, split="train")


def test_refuses_a_table_without_rows(write_parquet: WriteParquet) -> None:
    with pytest.raises(DataError, match="no rows"):
        load_images(write_parquet("train.parquet", [], []), split="train")


def test_refuses_a_missing_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load_images(tmp_path / "nowhere", split="train")
    with pytest.raises(DataError, match="neither Parquet files nor sub-folders"):
        load_images(tmp_path, split="train")


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("shared", [None, "elsewhere"])
def test_a_missing_set_of_a_known_name_says_where_to_have_it(
    write_parquet: WriteParquet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    shared: str | None,
) -> None:
    """In one line, and a copy at that place is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICROGLIA_DATA", raising=False)
    if shared is not None:
        monkeypatch.setenv("MICROGLIA_DATA", shared)
    with pytest.raises(DataError) as error:
        load_images(name, split="train")
    message = str(error.value)
    assert f"'hf:{name}'" in message
    assert KNOWN[name][1] in message
    assert "\n" not in message
    (folder,) = re.findall(r"into (\S+)/ as train.parquet and test.parquet", message)
    write_parquet(f"{folder}/train.parquet", [encode(p) for p in pixels(6)], labels_for(6))
    assert len(load_images(name, split="train")) == 6


def test_a_relative_source_is_found_in_the_data_folder(
    write_parquet: WriteParquet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet("insects/train.parquet", [encode(p) for p in pixels(6)], labels_for(6))
    monkeypatch.delenv("MICROGLIA_DATA", raising=False)
    with pytest.raises(DataError, match="no such file or folder"):
        load_images("insects", split="train")
    monkeypatch.setenv("MICROGLIA_DATA", str(tmp_path))
    assert len(load_images("insects", split="train")) == 6


def test_splits_of_a_folder(write_parquet: WriteParquet) -> None:
    files = [encode(p) for p in pixels(12)]
    for name, count in (("train", 12), ("valid", 6)):
        path = write_parquet(f"set/{name}.parquet", files[:count], labels_for(count))
    assert len(load_images(path.parent, split="test")) == 6
    with pytest.raises(DataError, match="'valid' part serves as the test split"):
        load_images(path.parent, split="validation")
    write_parquet("set/test.parquet", files[:3], labels_for(3))
    assert len(load_images(path.parent, split="test")) == 3
    assert len(load_images(path.parent, split="validation")) == 6
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        load_images(path.parent, split="training")
    path.with_name("test.parquet").unlink()
    path.unlink()
    with pytest.raises(DataError, match="no 'test' split; it has train"):
        load_images(path.parent, split="test")


def test_a_single_file_is_a_training_set_unless_rows_are_chosen(
    write_parquet: WriteParquet,
) -> None:
    path = write_parquet("all.parquet", [encode(p) for p in pixels(9)], labels_for(9))
    with pytest.raises(DataError, match="no 'test' split of its own"):
        load_images(path, split="test")
    assert len(load_images(path, split="test", rows=range(6, 9))) == 3
