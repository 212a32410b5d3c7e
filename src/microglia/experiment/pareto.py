"""What accuracy costs: the methods' networks on axes of size, operations and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microglia.experiment import compare_table
from microglia.experiment.compare_table import Row
from microglia.experiment.job import Record
from microglia.experiment.seeds import mean_spread
from microglia.report import Figure, Series, front

COSTS = {
    "parameters kept": "connectivity",
    "synapses kept": "synapses kept",
    "SynOps kept": "SynOps kept",
    "latency": "latency",
}
"""Title -> column of the comparison table: a fraction of the dense network's."""


def pareto(records: Sequence[Record]) -> Iterator[Figure | str]:
    """Accuracy against each cost, a mark for every network; or a sentence on why not."""
    rows = compare_table.rows(records)
    if not rows:
        yield "Pareto front: it wants the dense network of the same seed beside a pruned one."
        return
    for title, column in COSTS.items():
        series = [s for s in (_series(rows, label, column) for label in _labels(rows)) if s.x]
        if series:
            yield Figure(
                f"Accuracy against {title}",
                "Fraction of the dense network of the same seed; mean over seeds, accuracy with "
                "its sample standard deviation. The front: nothing is both cheaper and better.",
                front(series, x=f"{title}, of the dense network", y="test accuracy, %"),
            )
        else:
            yield f"Accuracy against {title}: no result has it."


def _labels(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _series(rows: Sequence[Row], label: str, column: str) -> Series:
    """A point for each sparsity, cheapest first; an axis of decades has no place for 0."""
    found: dict[float, list[Row]] = {}
    for row in rows:
        if row["method"] == label and row[column] > 0:
            found.setdefault(row["sparsity"], []).append(row)
    points = []
    for sparsity, some in found.items():
        cost, _ = mean_spread([row[column] for row in some])
        accuracy, spread = mean_spread([row["accuracy"] for row in some])
        points.append((cost, accuracy, spread, f"{label} at {sparsity:g}, {len(some)} seeds"))
    points.sort()
    x, y, spreads, texts = (
        (list(column) for column in zip(*points, strict=True)) if points else ([], [], [], [])
    )
    return Series(label, x, y, spreads, texts)
