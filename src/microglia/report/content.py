"""What a report shows, as plain values: the page knows nothing of networks and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from microglia.report.chart import Chart
from microglia.report.table import Table


@dataclass(frozen=True)
class KeptOverTime:
    """How many units each group keeps after each change.

    `epochs[i]` is when (in epochs, fractions allowed) `kept[group][i]` came to hold.
    """

    epochs: Sequence[float]
    kept: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class GroupScores:
    """The importance of each unit of a group at the end, and whether the unit stayed."""

    scores: Sequence[float]
    stayed: Sequence[bool]


@dataclass(frozen=True)
class Figure:
    """A chart with a heading and a line on how to read it."""

    title: str
    hint: str
    chart: Chart


@dataclass(frozen=True)
class Chapter:
    """Figures of one setting, what was compared in it, and which figures it lacks, and why."""

    title: str
    figures: Sequence[Figure]
    facts: Sequence[tuple[str, str]] = ()
    missing: Sequence[str] = ()
    table: Table | None = None
    method: str = ""
    """The row of the table that stands out."""


@dataclass(frozen=True)
class Report:
    """One run. `method` names its row of the table; facts are (heading, text) pairs, in order.

    `headline` names the few figures that stand large on top.
    """

    title: str
    method: str
    table: Table
    headline: Sequence[str] = ()
    kept: KeptOverTime | None = None
    scores: Mapping[str, GroupScores] = field(default_factory=dict)
    certificate: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    config: str = ""
