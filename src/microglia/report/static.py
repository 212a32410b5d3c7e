"""A chart as a picture for a paper, with Matplotlib; colours are those of the light page."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microglia.errors import ConfigError
from microglia.report.chart import Axis, Chart, Series
from microglia.report.ticks import log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.2, 3.4)
"""Inches: a column and a half of a paper."""
_MARKERS = {
    "": "",
    "circle": "o",
    "circle-open": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "star": "*",
}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "svg.hashsalt": "microglia",  # equal charts give equal files
}


def write_static(chart: Chart, stem: Path) -> None:
    """Write `<stem>.svg` and `<stem>.png`, 300 dots per inch.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Pictures for a paper need Matplotlib, which is not installed. "
            "Run: pip install 'microglia[report]'"
        ) from error
    colours = _palette()
    with rc_context({**_STYLE, "grid.color": colours["--rule"]}):
        picture = Figure(figsize=_size(chart), layout="constrained")
        FigureCanvasAgg(picture)
        axes = picture.add_subplot()
        for one in chart.series:
            _draw(axes, one, colours)
        _label(axes, "x", chart.x, [x for one in chart.series for x in one.x])
        _label(axes, "y", chart.y, [y for one in chart.series for y in one.y])
        if chart.series:
            columns = min(3, len(chart.series))
            picture.legend(loc="outside upper left", ncols=columns, frameon=False, fontsize=7)
        # No date in the file, so that the same numbers give the same file.
        picture.savefig(stem.with_name(f"{stem.name}.svg"), metadata={"Date": None})
        picture.savefig(stem.with_name(f"{stem.name}.png"), dpi=300)


def _size(chart: Chart) -> tuple[float, float]:
    width, height = SIZE
    legend = 0.15 * (len(chart.series) // 3)
    return width, max(height, 1 + 0.16 * len(chart.y.names)) + legend


def _draw(axes: Axes, one: Series, colours: dict[str, str]) -> None:
    colour = _colour(one.colour, colours)
    hollow = one.symbol.endswith("-open")
    axes.errorbar(
        list(one.x),
        list(one.y),
        yerr=list(one.spread) or None,
        # A name that begins with an underscore would be left out of the legend.
        label=f"\N{WORD JOINER}{one.name}" if one.name.startswith("_") else one.name,
        color=colour,
        marker=_MARKERS[one.symbol],
        markersize=_size_of(one),
        clip_on=bool(one.line),  # a dot at zero lies on the axis
        markerfacecolor="none" if hollow else colour,
        markeredgecolor=colour if hollow else "white",
        markeredgewidth=0 if one.small and not hollow else 0.6,
        linestyle="-" if one.line else "none",
        drawstyle="steps-post" if one.line == "steps" else "default",
        linewidth=1.2,
        elinewidth=0.7,
        capsize=1.5,
    )


def _size_of(one: Series) -> float:
    if one.small:
        return 2.5 if one.symbol.endswith("-open") else 1.5
    return 4 if one.line or len(one.x) > 30 else 6


def _label(axes: Axes, letter: str, axis: Axis, values: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    settings: dict[str, Any] = {f"{letter}label": axis.title}
    if axis.logarithmic and (ticks := log_ticks(values)):
        low, high = ticks.decades
        settings |= {f"{letter}scale": "log", f"{letter}lim": (10**low, 10**high)}
    axes.set(**settings)
    which = axes.xaxis if letter == "x" else axes.yaxis
    if axis.names:
        axes.set(**{f"{letter}lim": (-0.6, len(axis.names) - 0.4)})
        which.set_ticks(range(len(axis.names)), list(axis.names))
        which.grid(False)
        if letter == "x" and sum(map(len, axis.names)) > 60:
            which.set_tick_params(rotation=45)
    elif axis.logarithmic and ticks:
        which.set_ticks(list(ticks.places), list(ticks.words))
        which.set_ticks([], minor=True)
    if axis.whole:
        which.set_major_locator(MaxNLocator(integer=True))
    if axis.from_zero and not axis.names:
        axes.set(**{f"{letter}lim": (min(0.0, *values) if values else 0.0, None)})


def _palette() -> dict[str, str]:
    """The page's light colours by their names."""
    style = (files("microglia.report") / "page" / "style.css").read_text(encoding="utf-8")
    light = style[: style.index("}")]
    return dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", light))


def _colour(name: str, colours: dict[str, str]) -> str:
    """A variable's colour, or a place on a ramp."""
    name, _, place = name.partition("@")
    if not place:
        return colours[name]
    ends = (colours[f"{name}-from"], colours[f"{name}-to"])
    low, high = ([int(end[i : i + 2], 16) for i in (1, 3, 5)] for end in ends)
    mixed = [round(a + float(place) * (b - a)) for a, b in zip(low, high, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)
