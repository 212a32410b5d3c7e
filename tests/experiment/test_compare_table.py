"""The table tells apart what differs, and says what it leaves out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from records import record

from microglia.errors import DataError
from microglia.experiment import compare_table


def at(T: int, label: str, sparsity: float, accuracy: float) -> dict[str, Any]:
    made = record(label, sparsity, 0, accuracy)
    made["config"]["network"] |= {"T": T}
    return made


def cells(text: str) -> list[dict[str, str]]:
    """The lines of a table by the headings of its columns."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    head, _, *body = ([cell.strip() for cell in line] for line in lines)
    return [dict(zip(head, line, strict=True)) for line in body]


def test_two_numbers_of_timesteps_are_two_lines_each_beside_its_own_dense_network() -> None:
    records = [
        at(T, label, sparsity, accuracy)
        for T, base in ((2, 0.5), (8, 0.75))
        for label, sparsity, accuracy in (("dense", 0.0, base), ("stds", 0.5, base - 0.125))
    ]
    found = cells(compare_table.tables(records))
    assert [(c["data"], c["network"], c["T"]) for c in found] == [
        ("digits", "digits ×1", "2"),
        ("digits", "digits ×1", "8"),
    ]
    assert [(c["dense, %"], c["accuracy, %"]) for c in found] == [
        ("50.00", "37.50"),
        ("75.00", "62.50"),
    ]
    for line in found:
        assert line["− dense, points, paired 95 % interval"] == "-12.50"
        assert line["published"].startswith("CIFAR-10: ")


def test_each_method_stands_beside_chance_of_its_own_kind_and_sparsity() -> None:
    made = (
        ("sca", 0.5, 0.7),
        ("random", 0.5, 0.6),
        ("stds", 0.5, 0.4),
        ("random-weights", 0.5, 0.2),
    )
    records = [record("dense", 0.0, seed, 0.8) for seed in (0, 1)]
    records += [record(label, at, seed, value) for label, at, value in made for seed in (0, 1)]
    records += [record("sca", 0.75, 0, 0.3)]
    lines = cells(compare_table.tables(records))
    found = {(c["method"], c["sparsity"]): c["− random, points, the same"] for c in lines}
    assert found == {
        ("sca", "0.5"): "+10.00 [+10.00, +10.00]",
        ("random", "0.5"): "–",
        ("sca", "0.75"): "–",
        ("stds", "0.5"): "+20.00 [+20.00, +20.00]",
        ("random-weights", "0.5"): "–",
    }


def test_what_of_a_paper_is_left_out_is_said_once() -> None:
    dense, stds = record("dense", 0.0, 0, 0.8), record("stds", 0.5, 0, 0.7)
    thrift = [record("spike-thrift", p, 0, 0.7) for p in (0.5, 0.75)]
    assert compare_table.tables([dense, stds, *thrift]).count("distillation of its outputs") == 1
    assert "distillation of its outputs" not in compare_table.tables([dense, stds])


def test_sizes_and_times_as_csr_stand_where_they_were_measured() -> None:
    dense, old, new = (record(x, p, 0, 0.5) for x, p in (("dense", 0), ("sca", 0.5), ("stds", 0.5)))
    dense["figures"]["bytes"] = 4000
    old["figures"]["bytes"] = 2000
    new["figures"] |= {"bytes": 4000, "bytes_csr": 800, "csr_latency_ratio": 1.5}
    sca, stds = cells(compare_table.tables([dense, old, new]))
    assert (sca["size / CSR"], sca["latency / CSR"]) == ("×0.50", "×0.75")
    assert (stds["size / CSR"], stds["latency / CSR"]) == ("×1.00 / ×0.20", "×0.75 / ×1.50")


def test_a_csv_that_fails_half_way_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = compare_table.rows([record("dense", 0.0, 0, 0.8), record("stds", 0.5, 0, 0.7)])
    path = tmp_path / "results.csv"
    compare_table.write_csv(rows, path)
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["dense", "stds"]
    before = path.read_bytes()

    def full(self: Any, rows: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(DataError, match=r"results\.csv.*No space left"):
        compare_table.write_csv(rows, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
