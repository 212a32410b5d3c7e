"""Training, validation and test sets that belong together."""

from functools import partial
from pathlib import Path

import pytest
import torch
from image_sources import WriteParquet, encode, pixels

from microglia.data import Images, load_images, load_splits
from microglia.errors import ConfigError, DataError


@pytest.fixture
def folder(write_parquet: WriteParquet) -> str:
    for name, count, seed in (("train", 30, 0), ("test", 8, 1)):
        files = [encode(p) for p in pixels(count, seed=seed)]
        path = write_parquet(f"set/{name}.parquet", files, [i % 3 for i in range(count)])
    return str(path.parent)


def identities(images: Images) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.images}


@pytest.mark.parametrize("train_rows", [None, range(10), range(20, 30)])
def test_rows_of_the_training_part_choose(folder: str, train_rows: range | None) -> None:
    splits = load_splits(folder, train_rows=train_rows, validation_rows=range(10, 15))
    assert len(splits.train) == (25 if train_rows is None else 10)
    assert len(splits.validation) == 5
    assert len(splits.test) == 8
    sets = [identities(s) for s in (splits.train, splits.validation, splits.test)]
    assert len(set.union(*sets)) == sum(map(len, sets)), "the sets overlap"
    scaled = splits.train.images.double() / 255
    for part in (splits.train, splits.validation, splits.test):
        assert torch.allclose(torch.tensor(part.mean).double(), scaled.mean((0, 2, 3)))
        assert part.classes == splits.train.classes


@pytest.mark.parametrize("first_end", [(0, 10), [3, 20]])
def test_a_pair_of_rows_is_its_range(folder: str, first_end: tuple[int, int]) -> None:
    pairs = load_splits(folder, train_rows=first_end, validation_rows=(20, 28))
    ranges = load_splits(folder, train_rows=range(*first_end), validation_rows=range(20, 28))
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(pairs, part).images, getattr(ranges, part).images)
    alone = load_images(folder, split="train", rows=first_end)
    assert torch.equal(alone.images, ranges.train.images)


@pytest.mark.parametrize("rows", [(0, 5, 1), (0.0, 5.0), 5, "0:5", (True, 5)])
@pytest.mark.parametrize("setting", ["train_rows", "validation_rows", "rows"])
def test_other_rows_are_refused_by_name(folder: str, rows: object, setting: str) -> None:
    load = load_splits if setting != "rows" else partial(load_images, split="train")
    with pytest.raises(ConfigError, match=rf"^{setting}: wanted .*\(first, end\), got"):
        load(folder, **{setting: rows})


def test_refuses_rows_that_overlap(folder: str) -> None:
    with pytest.raises(DataError, match="share 3 rows, the first is 7"):
        load_splits(folder, train_rows=range(10), validation_rows=range(7, 15))


@pytest.mark.parametrize("part", ["test", "valid"])
def test_refuses_to_guess_a_validation_set(
    folder: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is decoded, and says by which settings to choose one that work."""
    Path(folder, "test.parquet").rename(Path(folder, f"{part}.parquet"))
    with monkeypatch.context() as patched:
        patched.setattr("microglia.data.load.read_parquet", lambda *_, **__: pytest.fail("read"))
        with pytest.raises(DataError) as error:
            load_splits(folder)
    assert ("no 'validation' split" if part == "test" else "no other") in str(error.value)
    for words in ("validation_rows=", "validation_share=", "data.validation_", "load_splits"):
        assert words in str(error.value)
    assert len(load_splits(folder, validation_rows=range(10)).validation) == 10
    assert len(load_splits(folder, validation_share=0.1).validation) == 3


def test_refuses_classes_that_do_not_match(folder: str, write_parquet: WriteParquet) -> None:
    files = [encode(p) for p in pixels(3)]
    write_parquet("set/test.parquet", files, [0, 1, 2], names=["x", "y", "z"])
    with pytest.raises(DataError, match="x, y, z don't match the training set's, 0, 1, 2"):
        load_splits(folder, validation_rows=range(5))
    files = [encode(p) for p in pixels(3, side=4)]
    write_parquet("set/test.parquet", files, [0, 1, 2])
    with pytest.raises(DataError, match="but the training set has"):
        load_splits(folder, validation_rows=range(5))


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        (range(3, 9), True),
        (range(9, 10), True),
        (range(2, 9, 2), False),
        (range(9, 3, -1), False),
        (torch.tensor([4, 5, 6]), True),
        (torch.tensor([4, 6, 5]), False),
    ],
)
def test_neighbouring_rows_share_the_sets_memory(rows: range | torch.Tensor, shared: bool) -> None:
    pixels = torch.randint(0, 256, (10, 3, 4, 4), dtype=torch.uint8)
    whole = Images.measured(pixels, torch.arange(10), tuple("abcdefghij"))
    part = whole.subset(rows)
    assert part.labels.tolist() == list(rows)
    assert torch.equal(part.images, pixels[torch.as_tensor(list(rows))])
    same = part.images.untyped_storage().data_ptr() == pixels.untyped_storage().data_ptr()
    assert same == shared


def test_a_part_at_the_end_is_held_out_without_a_copy(folder: str) -> None:
    splits = load_splits(folder, validation_rows=range(25, 30))
    train, held = (s.images.untyped_storage() for s in (splits.train, splits.validation))
    assert train.data_ptr() == held.data_ptr()
    assert (len(splits.train), len(splits.validation)) == (25, 5)


@pytest.mark.parametrize(
    ("name", "reader"), [("a.npz", "load_sequences"), ("a.csv", "read_series")]
)
def test_a_file_of_another_kind_names_its_reader(tmp_path: Path, name: str, reader: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=f"no images; .*{reader}"):
        load_splits(tmp_path / name)


@pytest.mark.parametrize("rows", [range(5, 11), range(3, 3)])
def test_rows_that_there_are_not_are_refused(rows: range) -> None:
    pixels = torch.zeros(10, 1, 2, 2, dtype=torch.uint8)
    whole = Images.measured(pixels, torch.arange(10), tuple("abcdefghij"))
    with pytest.raises(DataError, match="of 10 images, whose rows run from 0 to 9"):
        whole.subset(rows)
