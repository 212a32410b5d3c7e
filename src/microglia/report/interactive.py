"""A chart as Plotly's traces and layout, in plain dicts; the page resolves the colours' names."""

from __future__ import annotations

from html import escape
from typing import Any

from microglia.report.chart import Axis, Chart, Series
from microglia.report.ticks import log_ticks

_SHAPES = {"straight": "linear", "steps": "hv"}


def interactive(chart: Chart) -> dict[str, Any]:
    """What `Plotly.react` takes: `data`, and `layout` without fonts and margins."""
    return {
        "data": [_trace(one) for one in chart.series],
        "layout": {
            "xaxis": _axis(chart.x, [x for one in chart.series for x in one.x]),
            "yaxis": _axis(chart.y, [y for one in chart.series for y in one.y]),
            "showlegend": True,
            "hovermode": "x unified" if chart.compared else "closest",
        },
    }


def _trace(one: Series) -> dict[str, Any]:
    parts = [part for part, there in (("lines", one.line), ("markers", one.symbol)) if there]
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "+".join(parts),
        "name": _literal(one.name),
        "x": list(one.x),
        "y": list(one.y),
    }
    if one.line:
        trace["line"] = {"shape": _SHAPES[one.line], "width": 2, "color": one.colour}
    if one.symbol:
        trace["marker"] = {
            "size": _size(one),
            "symbol": one.symbol,
            "color": one.colour,
            # Marks at equal places overlap; a rim keeps them apart.
            "line": {
                "width": 0 if one.small and not one.symbol.endswith("-open") else 0.8,
                "color": one.colour if one.symbol.endswith("-open") else "--card",
            },
        }
        trace["cliponaxis"] = False
    if one.spread:
        trace["error_y"] = {"array": list(one.spread), "thickness": 1.2, "width": 3}
    if one.text:
        trace |= {
            "text": [_literal(text) for text in one.text],
            "hovertemplate": "%{text}: %{y:.4g}<extra></extra>",
        }
    return trace


def _size(one: Series) -> int:
    if one.small:
        return 5 if one.symbol.endswith("-open") else 3
    return 8 if one.line or len(one.x) > 30 else 11


def _axis(axis: Axis, values: list[float]) -> dict[str, Any]:
    given: dict[str, Any] = {"title": {"text": _literal(axis.title)}}
    if axis.names:
        count = len(axis.names)
        given |= {
            "tickvals": list(range(count)),
            "ticktext": [_literal(name) for name in axis.names],
            "range": [-0.6, count - 0.4],
            "showgrid": False,
        }
    if axis.logarithmic and (ticks := log_ticks(values)):
        given |= {
            "type": "log",
            "tickvals": list(ticks.places),
            "ticktext": list(ticks.words),
            "range": list(ticks.decades),
        }
    if axis.whole and values and max(values) - min(values) <= 12:
        given["dtick"] = 1
    if axis.from_zero:
        given["rangemode"] = "tozero"
    return given


def _literal(text: str) -> str:
    """Plotly reads some HTML in whatever it writes."""
    return escape(text, quote=False)
