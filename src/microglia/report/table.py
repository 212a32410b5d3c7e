"""The table of a comparison: networks down, figures across, each with its ratio to a reference."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from microglia.errors import ConfigError, nearest


@dataclass(frozen=True)
class Column:
    """One figure: its key, its heading, and how a value is written."""

    key: str
    title: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 0
    note: str = ""
    ratio: bool = True
    """Whether it makes sense as a part of another network's."""

    def text(self, value: float) -> str:
        """The value in the column's unit, without the unit."""
        scaled = value * self.scale
        if self.digits == 0 and abs(scaled) >= 1e7:
            return f"{scaled / 1e6:,.2f} M"
        return f"{scaled:,.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """Figures of several networks over several seeds.

    `rows[network]` holds one mapping a seed from column key to value; a network may lack a figure.
    `reference` names the row that ratios are taken against.
    """

    columns: tuple[Column, ...]
    rows: Mapping[str, Sequence[Mapping[str, float]]]
    reference: str = "dense"
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, network: str) -> str:
        return self.titles.get(network, network)

    def column(self, key: str) -> Column:
        for column in self.columns:
            if column.key == key:
                return column
        raise ConfigError(
            f"The table has no figure '{key}'.{nearest(key, [c.key for c in self.columns])}"
        )

    def values(self, network: str, key: str) -> list[float]:
        """The figure of each seed that has it."""
        return [figures[key] for figures in self.rows[network] if key in figures]

    def mean(self, network: str, key: str) -> float | None:
        """Mean over seeds; None where no seed has the figure."""
        values = self.values(network, key)
        return statistics.fmean(values) if values else None

    def spread(self, network: str, key: str) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        values = self.values(network, key)
        return statistics.stdev(values) if len(values) > 1 else None

    def ratio(self, network: str, key: str) -> float | None:
        """Mean of the network over mean of the reference; None where either is not there."""
        if self.reference not in self.rows or not self.column(key).ratio:
            return None
        value, reference = self.mean(network, key), self.mean(self.reference, key)
        return value / reference if value is not None and reference else None

    def text(self, network: str, key: str) -> str:
        """The figure as people read it, such as `97.8 ± 0.3`, without unit and ratio."""
        column, mean = self.column(key), self.mean(network, key)
        if mean is None:
            return "–"
        spread = self.spread(network, key)
        return column.text(mean) + (f" ± {column.text(spread)}" if spread else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists: for each network and figure its values, mean, spread and ratio.

        There is a value for each seed, None where it has none; a figure of no seed is left out.
        """
        return {
            "reference": self.reference,
            "columns": {c.key: {"title": c.title, "unit": c.unit} for c in self.columns},
            "rows": {
                network: {
                    c.key: {
                        "values": [figures.get(c.key) for figures in seeds],
                        "mean": self.mean(network, c.key),
                        "spread": self.spread(network, c.key),
                        "ratio": self.ratio(network, c.key),
                    }
                    for c in self.columns
                    if self.values(network, c.key)
                }
                for network, seeds in self.rows.items()
            },
        }


def rows_of(record: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """A table's rows from what `Table.to_dict` wrote.

    Files of old leave out the values that aren't there, so that they don't say whose are.
    """
    rows = {}
    for network, figures in record["rows"].items():
        seeds = max(len(figure["values"]) for figure in figures.values())
        whole = {k: f["values"] for k, f in figures.items() if len(f["values"]) == seeds}
        rows[network] = [
            {key: values[i] for key, values in whole.items() if values[i] is not None}
            for i in range(seeds)
        ]
    return rows
