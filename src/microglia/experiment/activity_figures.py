"""How much the networks fire: layer by layer, and the neurons that never or always do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.experiment.seeds import labels_of, mean_spread, runs_of, sparsities_of
from microglia.report import Axis, Figure, Series, dots, lines


def activity_figures(records: Sequence[Record]) -> Iterator[Figure | str]:
    """Firing rates per layer at each sparsity, and dead and saturated neurons; or why not."""
    yield from _rates(records)
    yield _silent(records)


def _rates(records: Sequence[Record]) -> Iterator[Figure | str]:
    known = [r for r in records if r.get("activity")]
    if not known:
        yield "Firing rate per layer: these results hold no layers; run directories do."
        return
    for sparsity in sparsities_of(known) or [0.0]:
        series = []
        for label in (DENSE, *labels_of(known)):
            some = [r["activity"] for r in runs_of(known, label, sparsity)]
            if some:
                layers = [
                    mean_spread([100 * x["firing_rate"] for x in at])
                    for at in zip(*some, strict=False)
                ]
                places = list(range(1, len(layers) + 1))
                names = [layer["name"] for layer in some[0]]
                means, spreads = [m for m, _ in layers], [s for _, s in layers]
                series.append(Series(label, places, means, spreads, names))
        yield Figure(
            f"Firing rate per layer at sparsity {sparsity:g}" if sparsity else "Firing rate",
            "Spikes per neuron and timestep on the test data; mean over seeds with the sample "
            "standard deviation. Before pruning: dense.",
            lines(
                series,
                x=Axis(title="layer of spiking neurons", whole=True),
                y=Axis(title="firing rate, %"),
                among=labels_of(records),
            ),
        )


def _silent(records: Sequence[Record]) -> Figure | str:
    known = [r for r in records if r["figures"].get("neurons")]
    if not known:
        return "Dead and saturated neurons: these results don't say how many neurons there are."
    networks = [(DENSE, 0.0)] if runs_of(known, DENSE) else []
    networks += [
        (label, sparsity)
        for label in labels_of(known)
        for sparsity in sparsities_of(runs_of(known, label))
    ]
    networks.reverse()  # the dense one stands on top
    series = []
    for name in ("dead", "saturated"):
        shares = [
            mean_spread(
                [100 * r["figures"][f"{name}_neurons"] / r["figures"]["neurons"] for r in some]
            )[0]
            for some in (runs_of(known, *network) for network in networks)
        ]
        series.append(Series(name, shares, list(range(len(networks)))))
    return Figure(
        "Dead and saturated neurons",
        "Of the neurons that a network has: those that never fired on the test data, and those "
        "that fired at every timestep. Mean over seeds; before pruning: dense.",
        dots(
            series,
            [label if label == DENSE else f"{label}, {s:g}" for label, s in networks],
            x="of its neurons, %",
        ),
    )
