"""Figures show what the records hold, and where they hold nothing there is a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from records import HOSTILE, RECORDS, record

from microglia.experiment.chapters import chapters
from microglia.report import Chapter, Chart, Series


def chapter(records: list[dict[str, Any]]) -> Chapter:
    (found,) = chapters(records)
    return found


def titles(records: list[dict[str, Any]]) -> list[str]:
    return [figure.title for figure in chapter(records).figures]


def chart(title: str) -> Chart:
    return next(f.chart for f in chapter(RECORDS).figures if f.title == title)


def series(title: str, name: str) -> Series:
    return next(s for s in chart(title).series if s.name == name)


def test_whole_records_give_every_figure() -> None:
    assert not chapter(RECORDS).missing
    assert titles(RECORDS) == [
        "Accuracy against parameters kept",
        "Accuracy against synapses kept",
        "Accuracy against SynOps kept",
        "Accuracy against latency",
        "Accuracy against the channels taken away",
        "Parameters against the channels taken away",
        "SynOps against the channels taken away",
        "Channels kept in each layer",
        "Channels kept over the epochs, 50 % taken away",
        "Changes of the mask, 50 % taken away",
        "Importance of channels, 50 % taken away",
        "Prune and regrow, prune only, random",
        "Firing rate per layer at sparsity 0.5",
        "Firing rate per layer at sparsity 0.75",
        "Dead and saturated neurons",
        "Training loss at sparsity 0.5",
        "Training loss at sparsity 0.75",
        "Validation accuracy at sparsity 0.5",
        "Validation accuracy at sparsity 0.75",
    ]


def without(*keys: str) -> list[dict[str, Any]]:
    empty: dict[str, Any] = {"kept": {}, "scores": {}, "epochs": [], "changes": [], "activity": []}
    return [{**r, **{key: empty[key] for key in keys}} for r in RECORDS]


@pytest.mark.parametrize(
    ("records", "lost", "said"),
    [
        (without("kept"), "Channels kept in each layer", "Figure 3"),
        (without("scores"), "Importance of channels, 50 % taken away", "Figure 4a"),
        (without("changes"), "Changes of the mask, 50 % taken away", "changes of the mask"),
        (without("epochs"), "Training loss at sparsity 0.5", "Training loss"),
        (without("activity"), "Firing rate per layer at sparsity 0.5", "Firing rate"),
        (RECORDS[2:], "Accuracy against latency", "Pareto"),
        (RECORDS[:3], "Prune and regrow, prune only, random", "Figure 4b"),
        (RECORDS[:2], "Accuracy against the channels taken away", "Figure 2"),
        (
            [{**r, "figures": {**r["figures"], "neurons": 0}} for r in RECORDS],
            "Dead and saturated neurons",
            "Dead and saturated",
        ),
    ],
)
def test_what_is_missing_is_left_out_with_a_sentence(
    records: list[dict[str, Any]], lost: str, said: str
) -> None:
    assert lost in titles(RECORDS)
    assert lost not in titles(records)
    assert any(said in sentence for sentence in chapter(records).missing)


def test_accuracy_against_sparsity_is_the_mean_over_seeds() -> None:
    sca = series("Accuracy against the channels taken away", "SCA")
    assert sca.x == [0.0, 50.0, 75.0]
    assert sca.y == pytest.approx([70.0, 60.0, 40.0])
    assert sca.spread == pytest.approx([14.142, 14.142, 0.0], abs=1e-3)
    slim = series("Accuracy against the channels taken away", "uniform-slim")
    assert slim.y == pytest.approx([80.0, 35.0]), "dense of its own seeds alone"


def test_the_front_is_what_nothing_is_cheaper_and_better_than() -> None:
    title = "Accuracy against parameters kept"
    sca = series(title, "SCA")
    assert sca.x == [0.25, 0.5]
    assert sca.y == pytest.approx([40.0, 60.0])
    front = series(title, "Pareto front")
    assert front.x == [0.25, 0.5, 1.0]
    assert front.y == pytest.approx([40.0, 60.0, 70.0]), "prune-only is beaten"


def test_firing_and_silence_are_means_over_seeds() -> None:
    rate = series("Firing rate per layer at sparsity 0.5", "SCA")
    assert rate.y == pytest.approx([10.5, 10.5])
    assert rate.text == ["a", HOSTILE]
    shown = chart("Dead and saturated neurons")
    dead = dict(zip(shown.y.names, series("Dead and saturated neurons", "dead").x, strict=True))
    assert dead["dense"] == 0
    assert dead["SCA, 0.75"] == pytest.approx(7.5)


def test_curves_end_where_the_shortest_training_does() -> None:
    short = record("SCA", 0.5, 2, 0.5)
    short["epochs"] = short["epochs"][:1]
    figures = {f.title: f for f in chapter([*RECORDS, short]).figures}
    loss = {s.name: s for s in figures["Training loss at sparsity 0.5"].chart.series}
    assert loss["SCA"].y == [2.0]
    assert loss["dense"].y == [2.0, 1.0]


@pytest.mark.parametrize("pick", [lambda s: s.colour, lambda s: s.symbol])
def test_a_method_looks_the_same_in_every_figure(pick: Callable[[Series], str]) -> None:
    compared = {r["label"] for r in RECORDS}
    looks: dict[str, set[str]] = {}
    for figure in chapter(RECORDS).figures:
        for one in figure.chart.series:
            if one.name in compared:
                looks.setdefault(one.name, set()).add(pick(one))
    assert set(looks) == compared
    assert all(len(found) == 1 for found in looks.values())


def test_weights_and_channels_are_not_drawn_on_one_axis() -> None:
    weights = record("stds", 0.5, 0, 0.5)
    found = titles([*RECORDS, weights])
    assert "Accuracy against the weights taken away" in found
    assert "stds" not in {s.name for s in chart("Accuracy against the channels taken away").series}
