"""Reports: the comparison table, on the terminal and on a self-contained page; figures."""

from microglia.report.chart import Axis, Chart, Series
from microglia.report.charts import dots, front, lines
from microglia.report.console import console_table
from microglia.report.content import Chapter, Figure, GroupScores, KeptOverTime, Report
from microglia.report.html import render, write_report
from microglia.report.pages import write_chapters, write_figures, write_folder
from microglia.report.table import Column, Table

__all__ = [
    "Axis",
    "Chapter",
    "Chart",
    "Column",
    "Figure",
    "GroupScores",
    "KeptOverTime",
    "Report",
    "Series",
    "Table",
    "console_table",
    "dots",
    "front",
    "lines",
    "render",
    "write_chapters",
    "write_figures",
    "write_folder",
    "write_report",
]
