"""How the networks trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.experiment.seeds import labels_of, mean_spread, runs_of, sparsities_of
from microglia.report import Axis, Figure, Series, lines

CURVES = {
    "loss": ("Training loss", "loss, with what the method adds", 1.0),
    "validation": ("Validation accuracy", "validation accuracy, %", 100.0),
}
"""Key of an epoch -> title, axis and scale."""


def training_figures(records: Sequence[Record]) -> Iterator[Figure | str]:
    """Loss and validation accuracy over the epochs, at each sparsity; or a sentence on why not."""
    for key, (title, axis, scale) in CURVES.items():
        known = [r for r in records if any(e.get(key) is not None for e in r["epochs"])]
        if not known:
            yield f"{title}: these results hold no epochs; run directories do."
        for sparsity in sparsities_of(known) or ([0.0] if known else []):
            series = [
                _curve(label, some, key, scale)
                for label in (DENSE, *labels_of(known))
                if (some := runs_of(known, label, sparsity))
            ]
            yield Figure(
                f"{title} at sparsity {sparsity:g}" if sparsity else title,
                "Mean over seeds after each epoch, fine-tuning included.",
                lines(
                    series,
                    x=Axis(title="epoch", whole=True),
                    y=Axis(title=axis),
                    among=labels_of(records),
                ),
            )


def _curve(label: str, records: Sequence[Record], key: str, scale: float) -> Series:
    """Means over the seeds, as long as the shortest has epochs."""
    epochs = zip(*(r["epochs"] for r in records), strict=False)
    means = [
        (number, mean_spread([scale * e[key] for e in at])[0])
        for number, at in enumerate(epochs, 1)
        if all(e[key] is not None for e in at)
    ]
    return Series(label, [n for n, _ in means], [m for _, m in means])
