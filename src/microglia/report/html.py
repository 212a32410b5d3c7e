"""The page of one run: its figures at a glance, the comparison, charts and certificate."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from microglia.report.chart import Chart
from microglia.report.charts import (
    accuracy_against_size,
    kept_over_time,
    score_distribution,
)
from microglia.report.content import Report
from microglia.report.document import document, drawn, pairs, section
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
    return document(report.title, "\n".join(_sections(report, charts)), charts)


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
    yield comparison(report.table, report.method)
    yield '<div class="two">'
    yield section(
        "Accuracy against size",
        "Test accuracy of the reloaded networks; one mark a seed.",
        drawn("accuracy", "Accuracy against size", charts["accuracy"]),
    )
    if "kept" in charts:
        yield section(
            "Units kept, layer by layer",
            "After each change of structure; from the first layer (faint) to the last (strong).",
            drawn("kept", "Units kept, layer by layer", charts["kept"]),
        )
    yield "</div>"
    if "scores" in charts:
        yield section(
            "Importance scores",
            "At the last update, one dot a unit. Hollow dots were removed.",
            drawn("scores", "Importance scores", charts["scores"]),
        )
    if report.certificate:
        yield section("What was certified", "", pairs(report.certificate))
    if report.facts or report.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
        yield section("How this was measured", "", f"{pairs(report.facts)}<ul>{notes}</ul>")
    if report.config:
        yield (
            "<section><details><summary>Config</summary>"
            f"<pre>{escape(report.config)}</pre></details></section>"
        )


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


def comparison(table: Table, method: str) -> str:
    """A table as a card, the method's column set off."""
    return section("Comparison", _caption(table), _table(table, method))


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
