"""A comparison table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from microglia.report.table import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def console_table(table: Table, *, caption: str = "") -> RichTable:
    """Figures down and networks across, so that it fits a terminal; ratios to the reference."""
    from rich import box
    from rich.table import Table as RichTable

    grid = RichTable(
        box=box.SIMPLE_HEAD,
        caption=caption or None,
        caption_justify="left",
        header_style="bold",
    )
    grid.add_column("")
    for network in table.rows:
        grid.add_column(table.title(network), justify="right")
    for column in table.columns:
        heading = f"{column.title}, {column.unit}" if column.unit else column.title
        if any(table.values(network, column.key) for network in table.rows):
            grid.add_row(heading, *(_cell(table, network, column.key) for network in table.rows))
    return grid


def _cell(table: Table, network: str, key: str) -> str:
    text, ratio = table.text(network, key), table.ratio(network, key)
    if ratio is None or network == table.reference:
        return text
    return f"{text} [dim]×{ratio:.2f}[/dim]"
