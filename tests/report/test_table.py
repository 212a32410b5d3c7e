"""The comparison table: means, spreads, ratios, and how they are written."""

from __future__ import annotations

import json
import statistics

import pytest
from rich.console import Console

from microglia.errors import ConfigError
from microglia.report import Column, Table, console_table
from microglia.report.table import rows_of

COLUMNS = (
    Column("accuracy", "accuracy", "%", 100, 1),
    Column("parameters", "parameters"),
    Column("latency_ms", "latency", "ms", 1, 2),
    Column("absent", "never measured"),
)


def table(reference: str = "dense") -> Table:
    return Table(
        COLUMNS,
        {
            "dense": [
                {"accuracy": 0.98, "parameters": 58_474, "latency_ms": 9.0},
                {"accuracy": 0.96, "parameters": 58_474, "latency_ms": 11.0},
            ],
            "sca": [
                {"accuracy": 0.95, "parameters": 5_000},
                {"accuracy": 0.93, "parameters": 7_000},
            ],
        },
        reference=reference,
        titles={"sca": "SCA"},
    )


def test_mean_spread_and_ratio_are_the_statistics_they_say() -> None:
    t = table()
    assert t.mean("sca", "parameters") == 6_000
    assert t.spread("dense", "accuracy") == pytest.approx(statistics.stdev([0.98, 0.96]))
    assert t.ratio("sca", "accuracy") == pytest.approx(0.94 / 0.97)
    assert t.ratio("dense", "parameters") == 1.0


def test_what_was_not_measured_is_not_made_up() -> None:
    t = table()
    assert t.mean("sca", "latency_ms") is t.ratio("sca", "latency_ms") is None
    assert t.text("sca", "latency_ms") == "–"
    assert t.ratio("sca", "absent") is None
    assert table(reference="gone").ratio("sca", "accuracy") is None
    one = Table(COLUMNS, {"dense": [{"accuracy": 0.5}]})
    assert one.spread("dense", "accuracy") is None


def test_figures_as_people_read_them() -> None:
    t = table()
    assert t.text("sca", "accuracy") == "94.0 ± 1.4"
    assert t.text("dense", "parameters") == "58,474"
    assert Column("macs", "MACs").text(313_201_664) == "313.20 M"
    assert Column("macs", "MACs").text(9_999_999) == "9,999,999"


def test_an_unknown_figure_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        table().column("acuracy")


def test_json_holds_every_seed() -> None:
    saved = json.loads(json.dumps(table().to_dict()))
    assert saved["rows"]["sca"]["parameters"] == {
        "values": [5_000, 7_000],
        "mean": 6_000,
        "spread": pytest.approx(2_000 / 2**0.5),
        "ratio": pytest.approx(6_000 / 58_474),
    }
    assert "latency_ms" not in saved["rows"]["sca"]


def test_a_figure_that_a_seed_lacks_stays_that_seeds_after_reading() -> None:
    rows = {"dense": [{"a": 1.0}, {"a": 2.0, "b": 5.0}, {"a": 3.0, "b": 7.0}]}
    one = Table((Column("a", "a"), Column("b", "b")), rows)
    saved = json.loads(json.dumps(one.to_dict()))
    assert rows_of(saved) == rows
    assert (one.mean("dense", "b"), saved["rows"]["dense"]["b"]["mean"]) == (6.0, 6.0)
    saved["rows"]["dense"]["b"]["values"] = [5.0, 7.0]  # as files of old have it
    assert [*rows_of(saved)["dense"][0]] == ["a"]


def test_the_terminal_shows_every_network_and_figure() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(console_table(table(), caption="the caption"))
    text = captured.get()
    for word in ("dense", "SCA", "accuracy, %", "94.0 ± 1.4", "×0.97", "58,474", "the caption"):
        assert word in text
    assert "never measured" not in text
    assert "×1.00" not in text, "the reference needs no ratio to itself"
