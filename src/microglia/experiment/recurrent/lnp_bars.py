"""What was set before any network of these seeds was pruned, and whether the records reach it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from microglia.experiment.job import Record
from microglia.experiment.recurrent.lnp_paper import NEURONS, NONE, REFERENCE, kept, without
from microglia.experiment.recurrent.reservoir_job import CALIBRATED
from microglia.experiment.recurrent.trained_job import DENSE
from microglia.experiment.statistics import Interval, paired_difference

EQUAL = ("0.35", "0.8")
"""The gains at which Σ|w| is equal; a network's figure there is its mean over both."""
OWN = (CALIBRATED,)
DEFAULT = ("1",)

DIGITS, MEMORY, LORENZ = ("digits", "accuracy"), ("memory", "capacity"), ("lorenz", "nrmse")
SYNOPS = ("lorenz", "synops")

Metric = tuple[str, str]
Key = tuple[str, str]
"""Experiment and label."""


def figure(record: Record, metric: Metric, points: Sequence[str]) -> float | None:
    """The mean over these gains; None where the network failed at one, or wasn't asked.

    Without recurrence a network is the same at every gain.
    """
    task, name = metric
    figures = record["figures"]
    alone = CALIBRATED if list(figures) == [CALIBRATED] else None
    values = []
    for point in points:
        value = figures.get(alone or point, {}).get(task, {}).get(name)
        if value is None:
            return None
        values.append(float(value))
    return statistics.fmean(values)


def by_seed(
    records: Iterable[Record], key: Key, metric: Metric, points: Sequence[str]
) -> dict[int, float]:
    """Seed -> the figure of a network, where there is one."""
    found = {}
    for record in records:
        if (record["experiment"], record["label"]) == key:
            value = figure(record, metric, points)
            if value is not None:
                found[record["seed"]] = value
    return found


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Mean of `key` at least (or at most) factor · mean of `to` + shift, over the same seeds.

    Without `to` the limit is `shift`.
    """

    key: Key
    metric: Metric
    least: bool
    to: Key | None = None
    factor: float = 1.0
    shift: float = 0.0
    points: tuple[str, ...] = EQUAL
    to_points: tuple[str, ...] = EQUAL

    def judge(self, records: Sequence[Record]) -> Verdict:
        mine = by_seed(records, self.key, self.metric, self.points)
        theirs = (
            by_seed(records, self.to, self.metric, self.to_points)
            if self.to
            else dict.fromkeys(mine, 0.0)
        )
        seeds = sorted(set(mine) & set(theirs))
        if not seeds:
            return Verdict(self, None, None, None)
        limits = {seed: self.factor * theirs[seed] + self.shift for seed in seeds}
        value = statistics.fmean(mine[seed] for seed in seeds)
        limit = statistics.fmean(limits.values())
        return Verdict(self, value, limit, paired_difference(mine, limits))

    def __str__(self) -> str:
        sign = "≥" if self.least else "≤"
        if self.to is None:
            limit = f"{self.shift:g}"
        else:
            factor = "" if self.factor == 1 else f"{self.factor:g} × "
            shift = f" {self.shift:+g}" if self.shift else ""
            limit = f"{factor}{self.to[1]}{shift}"
        where = "own gain" if self.points == OWN else "equal gain"
        return f"{self.key[0]}, {self.key[1]}: {' '.join(self.metric)} {sign} {limit} ({where})"


@dataclass(frozen=True)
class Verdict:
    """A bar, the mean that there is, the mean limit, and the paired difference to the limit."""

    bar: Bar
    value: float | None
    limit: float | None
    difference: Interval | None

    @property
    def word(self) -> Literal["clearly passes", "passes by the mean", "falls short", "not run"]:
        """Clearly: by all of the paired interval."""
        if self.value is None or self.limit is None or self.difference is None:
            return "not run"
        passes = self.value >= self.limit if self.bar.least else self.value <= self.limit
        if not passes:
            return "falls short"
        clearly = self.difference.low >= 0 if self.bar.least else self.difference.high <= 0
        return "clearly passes" if clearly else "passes by the mean"

    @property
    def p(self) -> float | None:
        """Of the mean's passing by chance, where the true one is at the limit; None without two
        seeds."""
        if self.difference is None:
            return None
        return self.difference.chance(above=self.bar.least)


@dataclass(frozen=True)
class Band:
    """Where a network that isn't pruned was in the study that the bars come from, on its seeds."""

    key: Key
    metric: Metric
    low: float
    high: float
    points: tuple[str, ...] = DEFAULT


def bands() -> list[Band]:
    """The operating point as it was there."""
    dense, none = (REFERENCE, DENSE), (REFERENCE, NONE)
    return [
        Band(dense, DIGITS, 0.82, 0.85),
        Band(none, DIGITS, 0.76, 0.78),
        Band(dense, MEMORY, 1.35, 1.55),
        Band(none, MEMORY, 0.73, 0.87),
        Band(dense, LORENZ, 0.017, 0.020),
        Band(none, LORENZ, 0.018, 0.021),
    ]


def bars() -> list[Bar]:
    """In the order of the settings: half, a fifth and a twentieth of the synapses, then neurons.

    The dense network is at its own weights, gain 1.
    """
    found = []
    half, fifth, twentieth = ((kept(part), "R2w") for part in (0.5, 0.2, 0.05))
    found += [
        _dense(half, DIGITS, least=True, shift=-0.015),
        _dense(half, MEMORY, least=True),
        _dense(half, LORENZ, least=False, factor=1.05),
        _dense(half, SYNOPS, least=False, factor=0.55),
        _dense(fifth, DIGITS, least=True),
    ]
    for key, digits, memory, lorenz in (
        (fifth, 0.0, 1.08, 0.95),
        (twentieth, -0.01, 1.10, 0.96),
    ):
        to = (key[0], "random")
        found += [
            Bar(key=key, metric=DIGITS, least=True, to=to, shift=digits),
            Bar(key=key, metric=MEMORY, least=True, to=to, factor=memory),
            Bar(key=key, metric=LORENZ, least=False, to=to, factor=lorenz),
            Bar(key=key, metric=SYNOPS, least=False, to=to, factor=0.75),
        ]
    third, most = ((without(*size), "I+II") for size in NEURONS)
    random = (most[0], "random")
    found += [
        Bar(key=third, metric=DIGITS, least=True, shift=0.82),
        Bar(key=third, metric=MEMORY, least=True, shift=1.45),
        _dense(third, LORENZ, least=False, factor=1.03),
        _dense(third, SYNOPS, least=False, factor=0.25),
        Bar(key=most, metric=DIGITS, least=True, shift=0.81),
        Bar(key=most, metric=MEMORY, least=True, shift=1.40),
        Bar(key=most, metric=LORENZ, least=False, to=random, factor=1.10),
        _dense(most, SYNOPS, least=False, factor=0.15),
    ]
    tuned, before = (third[0], "I+II+III+IV"), (third[0], "I+II+III")
    found += [
        Bar(key=tuned, metric=DIGITS, least=True, to=before, shift=-0.01),
        Bar(key=tuned, metric=MEMORY, least=True, to=before, factor=0.95),
        Bar(key=tuned, metric=LORENZ, least=False, to=before),
        Bar(key=tuned, metric=SYNOPS, least=False, to=before, factor=1.1),
    ]
    for key in (fifth, twentieth, most):
        found += _not_worse(key, (key[0], "random"))
    return found


def _dense(key: Key, metric: Metric, **limit: Any) -> Bar:
    return Bar(key=key, metric=metric, to=(REFERENCE, DENSE), to_points=DEFAULT, **limit)


def _not_worse(key: Key, to: Key) -> list[Bar]:
    """Not inferior at the calibrated gain."""
    at: dict[str, Any] = {"key": key, "to": to, "points": OWN, "to_points": OWN}
    return [
        Bar(metric=DIGITS, least=True, shift=-0.02, **at),
        Bar(metric=LORENZ, least=False, factor=1.05, **at),
        Bar(metric=MEMORY, least=True, factor=0.90, **at),
    ]
