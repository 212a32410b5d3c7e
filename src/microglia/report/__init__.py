"""Reports: the comparison table, on the terminal and on one self-contained page."""

from microglia.report.console import console_table
from microglia.report.content import GroupScores, KeptOverTime, Report
from microglia.report.html import render, write_report
from microglia.report.table import Column, Table

__all__ = [
    "Column",
    "GroupScores",
    "KeptOverTime",
    "Report",
    "Table",
    "console_table",
    "render",
    "write_report",
]
