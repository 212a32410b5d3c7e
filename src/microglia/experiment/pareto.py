"""What accuracy costs: the methods' networks on axes of size, operations and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microglia.experiment import compare_table
from microglia.experiment.compare_table import Row
from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.experiment.seeds import labels_of, mean_spread
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
    labels = labels_of(records)
    for title, column in COSTS.items():
        networks = (DENSE, *labels)
        series = [s for s in (_series(rows, label, column) for label in networks) if s.x]
        if series:
            yield Figure(
                f"Accuracy against {title}",
                "Fraction of the dense network of the same seed; mean over seeds, accuracy with "
                "its sample standard deviation. The front: nothing is both cheaper and better.",
                front(series, x=f"{title}, fraction", y="test accuracy, %", among=labels),
            )
        else:
            yield f"Accuracy against {title}: no result has it."


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
        points.append((cost, accuracy, spread, f"{label} at {sparsity:g}, seeds: {len(some)}"))
    points.sort()
    return Series(
        label,
        x=[cost for cost, _, _, _ in points],
        y=[accuracy for _, accuracy, _, _ in points],
        spread=[spread for _, _, spread, _ in points],
        text=[text for _, _, _, text in points],
    )
