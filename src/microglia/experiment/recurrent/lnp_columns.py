"""What the tables of recurrent networks say of each: column -> metric, scale and digits; and how a
cell is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from microglia.experiment.recurrent.lnp_bars import Metric
from microglia.experiment.statistics import mean_and_spread, paired_difference

Measure = tuple[Metric, float, int]

MEASURES: dict[str, Measure] = {
    "digits, %": (("digits", "accuracy"), 100, 1),
    "digits, logistic, %": (("digits", "logistic"), 100, 1),
    "memory capacity": (("memory", "capacity"), 1, 2),
    "Lorenz, 10⁻³": (("lorenz", "nrmse"), 1000, 2),
    "Lorenz, valid Lyapunov times": (("lorenz", "vpt"), 1, 2),
    "Lorenz x, 10⁻³": (("lorenz-x", "nrmse"), 1000, 2),
    "Rössler x, 10⁻³": (("rossler", "nrmse"), 1000, 2),
    "Mackey-Glass, 10⁻³": (("mackey-glass", "nrmse"), 1000, 1),
    "λ₁, /s": (("exponents", "lambda_1"), 1, 1),
    "rate, Hz": (("lorenz", "rate"), 1, 1),
    "SynOps a step": (("lorenz", "synops"), 1, 0),
}
"""Asked at every gain."""

ACTIVE = ("lorenz", "active")
"""The part of the neurons that fire at all."""

MORE: dict[str, Measure] = {
    "NATOPS, %": (("natops", "accuracy"), 100, 1),
    "JapaneseVowels, %": (("japanese-vowels", "accuracy"), 100, 1),
    "PenDigits, %": (("pen-digits", "accuracy"), 100, 1),
    "CIFAR-10 (JPEG q75), %": (("cifar10", "accuracy"), 100, 1),
    "wind, 6 h": (("wind", "nrmse_h6"), 1, 3),
    "ETTh1, 24 h": (("etth1", "nrmse_h24"), 1, 3),
    "exchange, 24 days": (("exchange", "nrmse_h24"), 1, 3),
    "Google, 5 days": (("google", "nrmse_h5"), 1, 3),
}
"""Asked at the network's own gain alone."""

BASELINES = (("wind", 6), ("etth1", 24), ("exchange", 24), ("google", 5))
"""Series and horizon, of the table of what needs no network."""

SCORES = {
    name: measure
    for name, measure in (MEASURES | MORE).items()
    if measure[0][1].startswith(("accuracy", "nrmse"))
}
"""One for each task with data: accuracies rise, errors fall."""

NOTHING = "–"
"""The cell of what wasn't measured."""


def mean_cell(values: Iterable[float], *, scale: float, digits: int) -> str:
    """The mean and its spread."""
    found = list(values)
    return mean_and_spread(found, scale=scale, digits=digits) if found else NOTHING


def difference_cell(a: Mapping[int, float], b: Mapping[int, float], measure: Measure) -> str:
    """The paired difference over the seeds that both have."""
    _, scale, digits = measure
    found = paired_difference(a, b)
    return found.text(scale=scale, digits=digits) if found else NOTHING
