"""One self-contained page: style, charts and Plotly inside it, and no request to anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import islice
from string import Template

from microglia.errors import ConfigError
from microglia.report.chart import Chart
from microglia.report.interactive import interactive

TABLE_ROWS = 400
"""So many points of a chart stand in its table; the rest are in its CSV."""


def document(title: str, body: str, charts: Mapping[str, Chart]) -> str:
    """The page as text. `body` has a place (`drawn`) for each of the charts.

    Raises:
        ConfigError: Plotly, whose script the page carries, is not installed.
    """
    shown = {name: interactive(chart) for name, chart in charts.items()}
    return Template(_resource("page.html")).substitute(
        title=escape(title),
        style=_resource("style.css"),
        body=body,
        # Inside a script element only "</" could end it early.
        charts=json.dumps(shown, allow_nan=False).replace("</", "<\\/"),
        plotly=_plotly_script(),
        script=_resource("charts.js"),
    )


def section(title: str, hint: str, body: str) -> str:
    """A card with a heading and a line on how to read it."""
    shown = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f"<section><h2>{escape(title)}</h2>{shown}{body}</section>"


def drawn(name: str, title: str, chart: Chart) -> str:
    """A chart's place on the page, and its numbers as a table for those who can't see it."""
    least = max(340, 130 + 26 * len(chart.y.names))
    return (
        f'<div class="chart" id="{name}" role="img" tabindex="0" data-height="{least}" '
        f'aria-label="Chart: {escape(title)}. Its numbers follow as a table."></div>'
        f"<details><summary>Numbers</summary>{_numbers(title, chart)}</details>"
    )


def pairs(items: Sequence[tuple[str, str]]) -> str:
    """Headings and texts, side by side."""
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items)
    return f"<dl>{inside}</dl>"


def _numbers(title: str, chart: Chart) -> str:
    rows = chart.rows()
    head = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in next(rows))
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in islice(rows, TABLE_ROWS))
    more = sum(1 for _ in rows)
    rest = f'<p class="hint">And {more:,} points more.</p>' if more else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Numbers of {escape(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def _cells(row: Sequence[str | float]) -> str:
    first, *rest = (escape(c if isinstance(c, str) else f"{c:.6g}") for c in row)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest)


def _resource(name: str) -> str:
    return (files("microglia.report") / "page" / name).read_text(encoding="utf-8")


def _plotly_script() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise ConfigError(
            "The report needs Plotly, which is not installed. Run: pip install 'microglia[report]'"
        ) from error
    return str(get_plotlyjs()).replace("</script", "<\\/script")
