"""Time series and labelled sequences: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from microglia.data.sequences import Sequences, load_sequences
from microglia.data.series import Scale, Series, read_series, windows
from microglia.errors import ConfigError, DataError


def csv(path: Path, *, rows: int = 40, time: str = "date", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, 3)).round(4)
    days = np.datetime64("2020-02-20") + np.arange(rows)
    lines = [f"{time},a,b,c"]
    lines += [f"{d},{','.join(str(v) for v in row)}" for d, row in zip(days, values, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return values.astype(np.float32)


def replace(path: Path, row: int, text: str) -> None:
    """Another line in the place of a row of values."""
    lines = path.read_text().splitlines()
    lines[row + 1] = text
    path.write_text("\n".join(lines) + "\n")


def test_reads_what_was_written(tmp_path: Path) -> None:
    written = csv(tmp_path / "s.csv")
    series = read_series(tmp_path / "s.csv")
    assert series.variables == ("a", "b", "c")
    assert np.array_equal(series.values.numpy(), written)
    some = read_series(tmp_path / "s.csv", variables=["c", "a"], rows=range(5, 30))
    assert np.array_equal(some.values.numpy(), written[5:30][:, [2, 0]])


def test_parts_are_in_the_order_of_time_and_scaled_by_the_first(tmp_path: Path) -> None:
    csv(tmp_path / "s.csv")
    series = read_series(tmp_path / "s.csv")
    train, validation, test = series.split(0.7, 0.1, 0.2)
    assert torch.equal(torch.cat([p.values for p in (train, validation, test)]), series.values)
    scale = Scale.fitted(train)
    scaled = scale.apply(train).values
    assert torch.allclose(scaled.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(scaled.std(0, correction=0), torch.ones(3), atol=1e-6)
    assert torch.allclose(scale.undo(scale.apply(test).values), test.values, atol=1e-6)
    assert scale.apply(test).values.mean(0).abs().max() > 1e-3, "the test part isn't fitted"
    for shares in ((0.5, 0.6), (0.0, 1.0), (-0.1, 0.5)):
        with pytest.raises(ConfigError, match="shares"):
            series.split(*shares)
    with pytest.raises(DataError, match="too few"):
        series.split(0.01, 0.9)


@pytest.mark.parametrize(("length", "horizon", "stride"), [(1, 1, 1), (5, 2, 1), (4, 3, 7)])
def test_windows_by_hand(length: int, horizon: int, stride: int) -> None:
    series = Series(torch.arange(60.0).reshape(30, 2), ("a", "b"), "here")
    inputs, targets = windows(series, length=length, horizon=horizon, stride=stride)
    starts = range(0, 30 - length - horizon + 1, stride)
    assert len(inputs) == len(targets) == len(starts)
    for i, start in enumerate(starts):
        assert torch.equal(inputs[i], series.values[start : start + length])
        after = start + length
        assert torch.equal(targets[i], series.values[after : after + horizon])
    with pytest.raises(DataError, match="too few for windows"):
        windows(series, length=29, horizon=2)
    with pytest.raises(ConfigError, match="horizon"):
        windows(series, length=3, horizon=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2020-02-25,1,,3", "column 'b', row 5 holds 'nan'"),
        ("2020-02-25,1,2,many", "column 'c', row 5 holds 'many'"),
        ("2020-02-25,1,2,inf", "column 'c', row 5"),
        ("2020-03-25,1,2,3", r"gap in 'date' between rows 4 .* and 5"),
        ("2020-02-24,1,2,3", "gap in 'date' between rows 4"),
        ("someday,1,2,3", "holds no times"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    csv(tmp_path / "s.csv")
    replace(tmp_path / "s.csv", 5, text)
    with pytest.raises(DataError, match=message):
        read_series(tmp_path / "s.csv")
    assert len(read_series(tmp_path / "s.csv", rows=range(6, 40))) == 34


def test_what_else_is_refused(tmp_path: Path) -> None:
    csv(tmp_path / "s.csv")
    with pytest.raises(DataError, match="no such file"):
        read_series(tmp_path / "t.csv")
    with pytest.raises(DataError, match="no column 'd'"):
        read_series(tmp_path / "s.csv", variables=["d"])
    with pytest.raises(DataError, match="rows"):
        read_series(tmp_path / "s.csv", rows=range(50))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="not a CSV table"):
        read_series(tmp_path / "empty.csv")
    (tmp_path / "head.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no values"):
        read_series(tmp_path / "head.csv")
    (tmp_path / "wide.csv").write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match="not a CSV table"):
        read_series(tmp_path / "wide.csv")
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="first row holds numbers"):
        read_series(tmp_path / "bare.csv")
    constant = Series(torch.tensor([[1.0, 2.0], [2.0, 2.0]]), ("a", "b"), "here")
    with pytest.raises(DataError, match="'b' is constant"):
        Scale.fitted(constant)


@pytest.mark.parametrize("times", [range(20), [0.5 * i for i in range(20)]])
def test_times_may_be_numbers(tmp_path: Path, times: Any) -> None:
    lines = ["time,a"] + [f"{t},{i}" for i, t in enumerate(times)]
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    assert read_series(tmp_path / "s.csv").variables == ("a",)
    del lines[7]
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="gap in 'time' between rows 5"):
        read_series(tmp_path / "s.csv")


def test_times_may_be_milliseconds_apart(tmp_path: Path) -> None:
    lines = ["time,a"] + [f"2020-01-01 00:00:00.{10 * i:03},{i}" for i in range(20)]
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    assert len(read_series(tmp_path / "s.csv")) == 20


# --- sequences ------------------------------------------------------------------------------


def arrays(*, equal: bool, seed: int = 0) -> dict[str, Any]:
    dice = np.random.default_rng(seed)
    found: dict[str, Any] = {"classes": np.array(["x", "y", "z"])}
    for split, count in (("train", 9), ("test", 5)):
        found[f"{split}_y"] = np.arange(count) % 3
        if equal:
            found[f"{split}_x"] = dice.normal(size=(count, 4, 7)).astype(np.float32)
        else:
            lengths = dice.integers(2, 8, count)
            found[f"{split}_offsets"] = np.concatenate([[0], np.cumsum(lengths)])
            found[f"{split}_x"] = dice.normal(size=(lengths.sum(), 4)).astype(np.float32)
    return found


@pytest.mark.parametrize("equal", [True, False])
def test_sequences_are_those_of_the_file(tmp_path: Path, equal: bool) -> None:
    held = arrays(equal=equal)
    np.savez(tmp_path / "s.npz", **held)
    for split in ("train", "test"):
        found = load_sequences(tmp_path / "s.npz", split=split)
        assert found.labels.tolist() == held[f"{split}_y"].tolist()
        for i, (values, length) in enumerate(zip(found.values, found.lengths, strict=True)):
            if equal:
                expected = held[f"{split}_x"][i].T
            else:
                begin, end = held[f"{split}_offsets"][i : i + 2]
                expected = held[f"{split}_x"][begin:end]
            assert np.array_equal(values[: int(length)].numpy(), expected)
            assert not values[int(length) :].any()


@pytest.mark.parametrize("equal", [True, False])
def test_sequences_are_scaled_by_the_training_set(tmp_path: Path, equal: bool) -> None:
    np.savez(tmp_path / "s.npz", **arrays(equal=equal))
    train, test = (load_sequences(tmp_path / "s.npz", split=s) for s in ("train", "test"))
    scaled, other = train.scaled_like(train), test.scaled_like(train)
    there = torch.arange(scaled.values.shape[1]) < scaled.lengths[:, None]
    assert torch.allclose(scaled.values[there].mean(0), torch.zeros(4), atol=1e-6)
    assert torch.allclose(scaled.values[there].std(0, correction=0), torch.ones(4), atol=1e-5)
    assert not scaled.values[~there].any()
    assert other.values.mean().abs() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_offsets": [0, 3, 2]}, "offsets"),
        ({"train_y": [0] * 9}, "class 'y' has no"),
        ({"train_y": [0, 1, 2, 3, 0, 0, 0, 0, 0]}, "sequence 3: label 3"),
        ({"train_y": [0, 1, 2]}, "3 labels"),
        ({"train_x": np.full((9, 4, 7), np.nan)}, "sequence 0: a value is no number"),
        ({"train_x": np.zeros((9, 4))}, r"wanted x of \[N, C, T\]"),
        ({"classes": None}, "classes missing"),
        ({"train_y": [0.7] * 9}, "'train_y' wants numbers, whole ones"),
        ({"train_y": [["a"]] * 9}, "'train_y' wants numbers"),
        ({"train_y": [[0]] * 9}, "'train_y' wants one row"),
        ({"train_x": np.full((9, 4, 7), "a")}, "'train_x' wants numbers"),
    ],
)
def test_damaged_sequences_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    held = arrays(equal=True) | {k: np.array(v) for k, v in change.items() if v is not None}
    for name, value in change.items():
        if value is None:
            held.pop(name)
    np.savez(tmp_path / "s.npz", **held)
    with pytest.raises(DataError, match=message):
        load_sequences(tmp_path / "s.npz", split="train")


def test_files_that_are_not_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **arrays(equal=False))
    whole = (tmp_path / "s.npz").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"text"):
        (tmp_path / "s.npz").write_bytes(content)
        with pytest.raises(DataError, match="not a whole npz file"):
            load_sequences(tmp_path / "s.npz", split="train")
    with pytest.raises(DataError, match=r"wanted values \[N, T, C\]"):
        Sequences(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2), ("a",), "here")
