"""Records as a figure wants them: by label and sparsity, with means over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.methods import METHODS


def labels_of(records: Iterable[Record]) -> list[str]:
    """What is compared with the dense network, in the order of the records."""
    return list(dict.fromkeys(r["label"] for r in records if r["label"] != DENSE))


def sparsities_of(records: Iterable[Record]) -> list[float]:
    """Those that anything was pruned to, rising."""
    return sorted({float(r["sparsity"]) for r in records if r["label"] != DENSE})


def runs_of(records: Iterable[Record], label: str, sparsity: float | None = None) -> list[Record]:
    """A label's records, of one sparsity or of all; the dense network has only one."""
    return [
        r
        for r in records
        if r["label"] == label and (sparsity is None or label == DENSE or r["sparsity"] == sparsity)
    ]


def unit_of(record: Record) -> str:
    """What its method prunes; channels for one that isn't known here."""
    cls = METHODS.get(record["method"])
    return cls.prunes if cls else "channels"


def mean_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; 0 for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
