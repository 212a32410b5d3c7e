"""What a chart is: series on two axes. A page draws it with Plotly, a paper with Matplotlib."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Axis:
    """`names`, where there are any, stand at 0, 1, 2, ... in place of numbers."""

    title: str = ""
    logarithmic: bool = False
    whole: bool = False
    """Whether it counts, so that nothing stands between two numbers."""
    from_zero: bool = False
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Series:
    """Points of a chart; `spread` is half the length of the error bars, `text` names each point.

    `colour` is a CSS variable of the page (`--dense`), or `--ramp@0.4`, a place on its sequential
    ramp, so that light and dark come from one style sheet; `symbol` is Plotly's word, "" for none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()
    text: Sequence[str] = ()
    colour: str = "--method"
    symbol: str = ""
    line: Literal["", "straight", "steps"] = "straight"
    small: bool = False
    """Whether its marks are dots, as of thousands of points."""


@dataclass(frozen=True)
class Chart:
    """Series on two axes; `compared` shows the values of all lines at one x together."""

    series: Sequence[Series]
    x: Axis
    y: Axis
    compared: bool = False

    def rows(self) -> Iterator[tuple[str | float, ...]]:
        """The plotted numbers, a heading first: series, x, y, and spread and text if there are."""
        spread = any(one.spread for one in self.series)
        text = any(one.text for one in self.series)
        yield (
            "series",
            _heading(self.x, "x"),
            _heading(self.y, "y"),
            *(["spread"] if spread else []),
            *(["point"] if text else []),
        )
        for one in self.series:
            for i, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
                yield (
                    one.name,
                    _named(self.x, x),
                    _named(self.y, y),
                    *([one.spread[i] if one.spread else ""] if spread else []),
                    *([one.text[i] if one.text else ""] if text else []),
                )

    def write_csv(self, path: Path) -> None:
        """The plotted numbers as a file with a heading."""
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(self.rows())


def _heading(axis: Axis, letter: str) -> str:
    return axis.title or letter


def _named(axis: Axis, value: float) -> str | float:
    return axis.names[round(value)] if axis.names else value
