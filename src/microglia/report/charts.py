"""The charts of reports: which series they have, and how these are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from microglia.report.chart import Axis, Chart, Series
from microglia.report.content import GroupScores, KeptOverTime
from microglia.report.table import Table

_COLOURS = ("--method", "--random", "--uniform-slim", "--other", "--rose")
# As many symbols as have no factor in common with the colours: 35 series differ.
_SYMBOLS = ("square", "diamond", "triangle-up", "circle", "cross", "star", "triangle-down")


def told_apart(series: Sequence[Series], among: Sequence[str] = ()) -> list[Series]:
    """The same series, each with a colour and a symbol that no other has.

    Charts that are to agree on these name all their series in `among`; the dense network is grey.
    """
    order = [name for name in among or [one.name for one in series] if name != "dense"]
    found = []
    for one in series:
        colour, symbol = "--dense", "circle"
        if one.name != "dense":
            place = order.index(one.name)
            colour = _COLOURS[place % len(_COLOURS)]
            symbol = _SYMBOLS[place % len(_SYMBOLS)]
        found.append(replace(one, colour=colour, symbol=symbol))
    return found


def lines(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    ranked: bool = False,
    among: Sequence[str] = (),
) -> Chart:
    """A line with marks for each series; `ranked` ones are drawn from faint to strong."""
    if ranked:
        drawn = [replace(one, colour=_ramp(i, series)) for i, one in enumerate(series)]
        return Chart([replace(one, symbol="circle") for one in drawn], x, y)
    return Chart(told_apart(series, among), x, y)


def front(series: Sequence[Series], *, x: str, y: str, among: Sequence[str] = ()) -> Chart:
    """Marks, and steps along those that no other beats with less x and more y; x is logarithmic."""
    marks = [replace(one, line="") for one in told_apart(series, among)]
    points = sorted((x, -y) for one in series for x, y in zip(one.x, one.y, strict=True))
    best: list[tuple[float, float]] = []
    for place, height in points:
        if not best or -height > best[-1][1]:
            best.append((place, -height))
    edge = Series(
        "Pareto front", [p for p, _ in best], [q for _, q in best], colour="--muted", line="steps"
    )
    return Chart([edge, *marks], Axis(title=x, logarithmic=True), Axis(title=y))


def dots(series: Sequence[Series], names: Sequence[str], *, x: str) -> Chart:
    """A row of dots for each of the names; the series' y are places among them."""
    marks = [replace(one, line="") for one in told_apart(series)]
    return Chart(marks, Axis(title=x, from_zero=True), Axis(names=names))


def kept_over_time(kept: KeptOverTime) -> Chart:
    """A stepped line a group, from the first group (lightest) to the last (darkest)."""
    series = [
        Series(group, kept.epochs, kept.kept[group], colour=_ramp(i, kept.kept), line="steps")
        for i, group in enumerate(kept.kept)
    ]
    axes = Axis(title="epoch"), Axis(title="units kept", from_zero=True)
    return Chart(series, *axes, compared=True)


def score_distribution(scores: Mapping[str, GroupScores]) -> Chart:
    """A column of dots a group, one dot a unit; hollow dots were removed."""
    groups = list(scores)
    series = []
    for stayed, name in ((True, "stayed"), (False, "removed")):
        points = [
            (column + _jitter(unit), score, f"{group}, unit {unit}")
            for column, group in enumerate(groups)
            for unit, (score, kept) in enumerate(
                zip(scores[group].scores, scores[group].stayed, strict=True)
            )
            if kept is stayed
        ]
        series.append(
            Series(
                name,
                [x for x, _, _ in points],
                [y for _, y, _ in points],
                text=[text for _, _, text in points],
                colour="--method" if stayed else "--muted",
                symbol="circle" if stayed else "circle-open",
                line="",
            )
        )
    return Chart(series, Axis(names=groups), Axis(title="importance score"))


def accuracy_against_size(table: Table, *, method: str) -> Chart:
    """A dot a network and seed, on a logarithmic axis of parameters."""
    series = []
    for index, network in enumerate(table.rows):
        pairs = [
            (figures["parameters"], 100 * figures["accuracy"])
            for figures in table.rows[network]
            if "parameters" in figures and "accuracy" in figures
        ]
        series.append(
            Series(
                table.title(network),
                [x for x, _ in pairs],
                [y for _, y in pairs],
                colour=colour_of(network, method=method),
                symbol=_SYMBOLS[index % len(_SYMBOLS)],
                line="",
            )
        )
    return Chart(series, Axis(title="parameters", logarithmic=True), Axis(title="test accuracy, %"))


def colour_of(network: str, *, method: str) -> str:
    """The CSS variable that a network's marks are drawn in, the same in every chart."""
    if network == method:
        return "--method"
    return f"--{network}" if network in ("dense", "random", "uniform-slim") else "--other"


def _ramp(index: int, items: Any) -> str:
    return f"--ramp@{index / max(1, len(items) - 1):.3f}"


def _jitter(index: int) -> float:
    # Steps of the golden ratio never line up, and the same unit always stands in the same place.
    return ((index * 0.618034) % 1 - 0.5) * 0.6
