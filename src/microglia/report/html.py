"""One self-contained page: style, charts and Plotly inside it, and no request to anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from microglia.errors import ConfigError
from microglia.report.charts import (
    Chart,
    accuracy_against_size,
    kept_over_time,
    score_distribution,
)
from microglia.report.content import Figure, Report
from microglia.report.table import Table


def write_report(report: Report, path: Path) -> None:
    """Write the report as one HTML file that opens offline.

    Raises:
        ConfigError: Plotly, whose script the page carries, is not installed.
    """
    path.write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """The page as text."""
    charts = _charts(report)
    return _page(report.title, "\n".join(_sections(report, charts)), charts)


def write_figures(title: str, figures: Sequence[Figure], path: Path) -> None:
    """Write figures alone as one HTML file that opens offline.

    Raises:
        ConfigError: Plotly is not installed.
    """
    charts = {f"figure{number}": figure.chart for number, figure in enumerate(figures)}
    body = "\n".join(
        _section(figure.title, figure.hint, f'<div class="chart" id="{name}"></div>')
        for name, figure in zip(charts, figures, strict=True)
    )
    path.write_text(_page(title, body, charts), encoding="utf-8")


def _page(title: str, body: str, charts: dict[str, Chart]) -> str:
    page = Template(_resource("page.html"))
    return page.substitute(
        title=escape(title),
        style=_resource("style.css"),
        body=body,
        # Inside a script element only "</" could end it early.
        charts=json.dumps(charts, allow_nan=False).replace("</", "<\\/"),
        plotly=_plotly_script(),
        script=_resource("charts.js"),
    )


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


def _charts(report: Report) -> dict[str, Chart]:
    charts: dict[str, Chart] = {}
    if report.kept is not None:
        charts["kept"] = kept_over_time(report.kept)
    if report.scores:
        charts["scores"] = score_distribution(report.scores)
    charts["accuracy"] = accuracy_against_size(report.table, method=report.method)
    return charts


def _sections(report: Report, charts: dict[str, Chart]) -> Iterable[str]:
    yield _tiles(report)
    yield _section("Comparison", _caption(report.table), _table(report.table, report.method))
    yield '<div class="two">'
    yield _section(
        "Accuracy against size",
        "Test accuracy of the reloaded networks; one mark a seed.",
        '<div class="chart" id="accuracy"></div>',
    )
    if "kept" in charts:
        yield _section(
            "Units kept, layer by layer",
            "After each change of structure; from the first layer (faint) to the last (strong).",
            '<div class="chart" id="kept"></div>',
        )
    yield "</div>"
    if "scores" in charts:
        yield _section(
            "Importance scores",
            "At the last update, one dot a unit. Hollow dots were removed.",
            '<div class="chart" id="scores"></div>',
        )
    if report.certificate:
        yield _section("What was certified", "", _pairs(report.certificate))
    if report.facts or report.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
        yield _section("How this was measured", "", f"{_pairs(report.facts)}<ul>{notes}</ul>")
    if report.config:
        yield (
            "<section><details><summary>Config</summary>"
            f"<pre>{escape(report.config)}</pre></details></section>"
        )


def _section(title: str, hint: str, body: str) -> str:
    shown = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f"<section><h2>{escape(title)}</h2>{shown}{body}</section>"


def _tiles(report: Report) -> str:
    """The figures that answer "was it worth it?", read off the method's row."""
    tiles = [
        _tile(report.table, report.method, key)
        for key in report.headline
        if report.table.values(report.method, key)
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _tile(table: Table, method: str, key: str) -> str:
    """A percentage as it is, anything else as its ratio to the reference."""
    column, ratio = table.column(key), table.ratio(method, key)
    figure = f"{table.text(method, key)} {column.unit}".strip()
    if ratio is None:
        large, small = figure, ""
    else:
        reference = f"{table.title(table.reference)}: {table.text(table.reference, key)}"
        reference = f"{reference} {column.unit}".strip()
        large, small = f"×{ratio:.2f}", f"{figure}; {reference}"
        if column.unit == "%":
            large, small = figure, reference
    return (
        f'<div class="tile"><span>{escape(column.title)}</span><b>{escape(large)}</b>'
        f"<span>{escape(small)}</span></div>"
    )


def _caption(table: Table) -> str:
    seeds = max(len(figures) for figures in table.rows.values())
    spread = f"Mean ± standard deviation over {seeds} seeds. " if seeds > 1 else "One seed. "
    ratios = f"× is the ratio to {table.title(table.reference)}."
    return spread + (ratios if table.reference in table.rows else "")


def _table(table: Table, method: str) -> str:
    head = "".join(
        f'<th class="{_mark(network, method)}">{escape(table.title(network))}</th>'
        for network in table.rows
    )
    body = []
    for column in table.columns:
        if not any(table.values(network, column.key) for network in table.rows):
            continue
        title = f"{column.title}, {column.unit}" if column.unit else column.title
        cells = "".join(_cell(table, network, column.key, method) for network in table.rows)
        body.append(f'<tr><td title="{escape(column.note)}">{escape(title)}</td>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(table: Table, network: str, key: str, method: str) -> str:
    ratio = table.ratio(network, key) if network != table.reference else None
    shown = f"<small>×{ratio:.2f}</small>" if ratio is not None else "<small></small>"
    text = escape(table.text(network, key))
    return f'<td class="{_mark(network, method)}">{text} {shown}</td>'


def _mark(network: str, method: str) -> str:
    return "method" if network == method else ""


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    return f"<dl>{items}</dl>"
