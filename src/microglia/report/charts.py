"""The report's charts as Plotly traces and layouts, in plain dicts.

Colours are names of the page's CSS variables (`--dense`), or `--ramp@0.4` for a place on its
sequential ramp; the page resolves them, so light and dark come from one style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from microglia.report.content import GroupScores, KeptOverTime, Series
from microglia.report.table import Table

Chart = dict[str, Any]

_COLOURS = ("--method", "--random", "--uniform-slim", "--other", "--dense", "--ramp@0")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


def kept_over_time(kept: KeptOverTime) -> Chart:
    """A stepped line a group, from the first group (lightest) to the last (darkest)."""
    groups = list(kept.kept)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": group,
            "x": list(kept.epochs),
            "y": list(kept.kept[group]),
            "line": {"shape": "hv", "width": 2, "color": f"--ramp@{_place(index, groups)}"},
            "hovertemplate": "%{y} kept at epoch %{x:.3g}",
        }
        for index, group in enumerate(groups)
    ]
    layout = {
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"title": {"text": "units kept"}, "rangemode": "tozero"},
        "showlegend": True,
        "hovermode": "x unified",
    }
    return {"data": traces, "layout": layout}


def lines(
    series: Sequence[Series], *, x: str, y: str, logarithmic: bool = False, ranked: bool = False
) -> Chart:
    """A line with marks for each series; `ranked` ones are drawn from faint to strong.

    `x` and `y` are the titles of the axes, `logarithmic` is the x axis.
    """
    traces = []
    for index, one in enumerate(series):
        colour = f"--ramp@{_place(index, series)}" if ranked else _COLOURS[index % len(_COLOURS)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": one.name,
                "x": list(one.x),
                "y": list(one.y),
                "error_y": {"array": list(one.spread), "visible": bool(one.spread)},
                "line": {"width": 2, "color": colour},
                "marker": {"size": 7, "symbol": _SYMBOLS[index % len(_SYMBOLS)], "color": colour},
            }
        )
    axis: Chart = {"title": {"text": x}}
    if logarithmic:
        axis |= {"type": "log", **_log_ticks([value for one in series for value in one.x])}
    layout = {
        "xaxis": axis,
        "yaxis": {"title": {"text": y}},
        "showlegend": True,
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def score_distribution(scores: Mapping[str, GroupScores]) -> Chart:
    """A column of dots a group, one dot a unit; hollow dots were removed."""
    groups = list(scores)
    traces = []
    for stayed, name in ((True, "stayed"), (False, "removed")):
        points = [
            (column + _jitter(unit), score, f"{group}, unit {unit}")
            for column, group in enumerate(groups)
            for unit, (score, kept) in enumerate(
                zip(scores[group].scores, scores[group].stayed, strict=True)
            )
            if kept is stayed
        ]
        colour = "--method" if stayed else "--muted"
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [x for x, _, _ in points],
                "y": [y for _, y, _ in points],
                "text": [text for _, _, text in points],
                "marker": {
                    "color": colour,
                    "size": 7,
                    "symbol": "circle" if stayed else "circle-open",
                    "opacity": 0.8,
                },
                "hovertemplate": "%{text}: %{y:.4g}",
            }
        )
    layout = {
        "xaxis": {
            "tickvals": list(range(len(groups))),
            "ticktext": groups,
            "range": [-0.6, len(groups) - 0.4],
            "showgrid": False,
        },
        "yaxis": {"title": {"text": "importance score"}},
        "showlegend": True,
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def accuracy_against_size(table: Table, *, method: str) -> Chart:
    """A dot a network and seed, on a logarithmic axis of parameters."""
    traces = []
    parameters: list[float] = []
    for index, network in enumerate(table.rows):
        pairs = [
            (figures["parameters"], 100 * figures["accuracy"])
            for figures in table.rows[network]
            if "parameters" in figures and "accuracy" in figures
        ]
        parameters += [x for x, _ in pairs]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": table.title(network),
                "x": [x for x, _ in pairs],
                "y": [y for _, y in pairs],
                "marker": {
                    "color": colour_of(network, method=method),
                    "symbol": _SYMBOLS[index % len(_SYMBOLS)],
                    "size": 12,
                    # Marks at equal parameters overlap; a rim keeps them apart.
                    "line": {"width": 1.5, "color": "--card"},
                },
                "hovertemplate": "%{x:,} parameters, %{y:.2f} %",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "parameters"}, "type": "log", **_log_ticks(parameters)},
        "yaxis": {"title": {"text": "test accuracy, %"}},
        "showlegend": True,
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def colour_of(network: str, *, method: str) -> str:
    """The CSS variable that a network's marks are drawn in, the same in every chart."""
    if network == method:
        return "--method"
    return f"--{network}" if network in ("dense", "random", "uniform-slim") else "--other"


def _place(index: int, items: Sequence[Any]) -> str:
    return f"{index / max(1, len(items) - 1):.3f}"


def _log_ticks(values: Sequence[float]) -> Chart:
    """Ticks at 1, 2 and 5 times the powers of ten that the values span, in words such as 20k."""
    if not values:
        return {}
    low, high = min(values) / 1.5, max(values) * 1.5
    decades = range(int(math.log10(max(low, 1))), int(math.log10(max(high, 1))) + 1)
    ticks = [m * 10**d for d in decades for m in (1, 2, 5) if low <= m * 10**d <= high]
    return {
        "tickvals": ticks,
        "ticktext": [_short(tick) for tick in ticks],
        "range": [math.log10(max(low, 1)), math.log10(max(high, 1))],
    }


def _short(number: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number // size}{letter}"
    return str(number)


def _jitter(index: int) -> float:
    # Steps of the golden ratio never line up, and the same unit always stands in the same place.
    return ((index * 0.618034) % 1 - 0.5) * 0.6
