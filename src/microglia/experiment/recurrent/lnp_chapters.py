"""Figures of recurrent networks: what they are worth against what they cost, and one looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap

import numpy as np

from microglia.experiment.job import Record
from microglia.experiment.recurrent.forecast import forecast_lorenz
from microglia.experiment.recurrent.lnp_bars import (
    DIGITS,
    LORENZ,
    MEMORY,
    OWN,
    SYNOPS,
    Metric,
    by_seed,
)
from microglia.experiment.recurrent.lnp_figures import forecast_figures, network_figures
from microglia.experiment.recurrent.lnp_paper import NEURONS, REFERENCE, SYNAPSES, kept, without
from microglia.experiment.recurrent.reservoir_job import CALIBRATED
from microglia.experiment.recurrent.sparse_networks import Budget
from microglia.experiment.seeds import mean_spread
from microglia.networks import HRSNNConfig
from microglia.report import Chapter, Figure, Series
from microglia.report.chart import Axis
from microglia.report.charts import lines
from microglia.tasks.reservoir import fed

WORTH: dict[str, tuple[Metric, float]] = {
    "Digits by rows, accuracy, %": (DIGITS, 100),
    "Memory capacity": (MEMORY, 1),
    "Lorenz, error a step ahead, 10⁻³": (LORENZ, 1000),
}
"""Title -> metric and scale."""
SIZES = {
    "all neurons stay": tuple(map(kept, SYNAPSES)),
    "neurons go": tuple(starmap(without, NEURONS)),
}
"""What a figure shows together, beside the dense network -> its experiments."""
SHOWN, FRACTION = "R2w", 0.2
"""The network that is looked at."""


def lnp_chapters(records: Iterable[Record]) -> list[Chapter]:
    """What untrained networks are worth against their SynOps, and one of them before and after."""
    records = [r for r in records if r["kind"] == "reservoir"]
    if not records:
        return []
    figures = [
        one
        for title in WORTH
        for size, experiments in SIZES.items()
        for one in _worth(records, title, size, (REFERENCE, *experiments))
    ]
    seeds = len({r["seed"] for r in records})
    chapters = [Chapter("untrained networks", figures, [("seeds", str(seeds))])]
    name = f"{kept(FRACTION)}/{SHOWN}"
    seen = [r for r in records if f"{r['experiment']}/{r['label']}" == name]
    return [*chapters, _looked_at(seen[0])] if seen else chapters


def _worth(
    records: Sequence[Record], title: str, size: str, experiments: Sequence[str]
) -> Iterator[Figure]:
    """A series for each label, a point for each budget, at the network's own gain."""
    metric, scale = WORTH[title]
    records = [r for r in records if r["experiment"] in experiments]
    labels = list(dict.fromkeys(r["label"] for r in records))
    series = [_points(records, label, metric, scale) for label in labels]
    found = [one for one in series if one.x]
    if found:
        yield Figure(
            f"{title}, against SynOps: {size}",
            "Untrained networks at the gain of their best memory capacity; mean over seeds with "
            "its sample standard deviation. SynOps a step of 1 ms, on Lorenz' system.",
            lines(found, x=Axis(title="SynOps a step", logarithmic=True), y=Axis(title=title)),
        )


def _points(records: Sequence[Record], label: str, metric: Metric, scale: float) -> Series:
    points = []
    for experiment in dict.fromkeys(r["experiment"] for r in records):
        values = list(by_seed(records, (experiment, label), metric, OWN).values())
        costs = list(by_seed(records, (experiment, label), SYNOPS, OWN).values())
        if values and costs and min(costs) > 0:  # an axis of decades has no place for 0
            value, spread = mean_spread(values)
            cost, _ = mean_spread(costs)
            text = f"{label}, {experiment}, seeds: {len(values)}"
            points.append((cost, scale * value, scale * spread, text))
    points.sort()
    return Series(
        label,
        x=[cost for cost, _, _, _ in points],
        y=[value for _, value, _, _ in points],
        spread=[spread for _, _, spread, _ in points],
        text=[text for _, _, _, text in points],
    )


def _looked_at(record: Record) -> Chapter:
    """The network of a record, drawn and pruned once more, beside the dense one."""
    seed = record["seed"]
    config = HRSNNConfig()
    dense = config.draw(seed)
    small = Budget(rule=SHOWN, kept=FRACTION).of(dense, seed=seed, metric=_unasked)
    small = small.with_weights(small.weights * record["gains"][CALIBRATED])
    figures, missing = network_figures(dense, small, np.arange(len(dense)), seconds=2.0, seed=seed)
    networks = {"dense": dense, SHOWN: small}
    forecasts = {
        name: forecast_lorenz(fed(network, 3, scale=2.0, seed=seed), seed=seed)
        for name, network in networks.items()
    }
    return Chapter(
        f"one network: seed {seed}, {SHOWN}, {kept(FRACTION)}",
        [*forecast_figures(forecasts), *figures],
        [("synapses", f"{small.weights.nnz:,} of {dense.weights.nnz:,}")],
        missing,
    )


def _unasked(network: object) -> float:
    raise AssertionError("step IV is off")
