"""Reports: the comparison table, on the terminal and on one self-contained page."""

from microglia.report.charts import lines
from microglia.report.console import console_table
from microglia.report.content import Figure, GroupScores, KeptOverTime, Report, Series
from microglia.report.html import render, write_figures, write_report
from microglia.report.table import Column, Table

__all__ = [
    "Column",
    "Figure",
    "GroupScores",
    "KeptOverTime",
    "Report",
    "Series",
    "Table",
    "console_table",
    "lines",
    "render",
    "write_figures",
    "write_report",
]
