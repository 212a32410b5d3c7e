"""Labelled sequences, classified from the spikes at their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.data.extras import require
from microglia.errors import DataError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.simulation import fit_ridge
from microglia.tasks.reservoir import Activity, Timing, fed, present

Array = NDArray[Any]

INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1)
"""Tried for scikit-learn's C, of features that were scaled to unit variance."""
TOGETHER = 256  # samples presented side by side


@dataclass(frozen=True, eq=False)
class Part:
    """Values [n, T, K], the true length of each [n], and labels [n]."""

    values: Array
    lengths: Array
    labels: Array

    def __post_init__(self) -> None:
        n, T, _ = self.values.shape
        if not len(self.lengths) == len(self.labels) == n:
            raise DataError(
                f"wanted a length and a label for each of {n} sequences, got "
                f"{len(self.lengths)} and {len(self.labels)}"
            )
        if n and not ((self.lengths >= 1) & (self.lengths <= T)).all():
            raise DataError(
                f"lengths: wanted 1 to {T}, got {self.lengths.min()} to {self.lengths.max()}"
            )


@dataclass(frozen=True, eq=False)
class Labelled:
    """Three disjoint parts: readouts learn on the first, choose on the second, are scored on the
    last. Raises DataError where a part is empty, or a class has no sample to learn from.
    """

    train: Part
    validation: Part
    test: Part
    classes: int

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            if not len(getattr(self, name).labels):
                raise DataError(f"the {name} part has no sequences")
        counts = np.bincount(self.train.labels, minlength=self.classes)
        if len(counts) > self.classes:
            raise DataError(f"labels: wanted 0 to {self.classes - 1}, got {len(counts) - 1}")
        if not counts.all():
            raise DataError(
                f"class {int(counts.argmin())} of {self.classes} has no sample in the training part"
            )


def classify(
    network: RecurrentNetwork,
    data: Labelled,
    timing: Timing,
    *,
    scale: float | None = 1.0,
    logistic: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """How many test sequences are told from the filtered spikes at their last value.

    From rest, each value held for `timing.hold`; ridge regression on one-hot labels, and logistic
    regression, both with penalties that err least on the validation part.

    Args:
        scale: standard deviation of the input weights; None keeps the network's own.
        seed: of the input weights.

    Returns:
        accuracy, validation (of ridge), logistic, rate, synops, readout (its weights).

    Raises:
        DataError: a part without samples, or a class without those to learn from.
        ConfigError: the network is silent or saturated.
    """
    network = fed(network, data.train.values.shape[2], scale=scale, seed=seed)
    activity = Activity()
    parts = (data.train, data.validation, data.test)
    X, held, test = (at_the_end(network, part, timing, activity) for part in parts)
    figures = activity.figures(network)
    one_hot = np.eye(data.classes)
    readout = fit_ridge(
        X,
        one_hot[data.train.labels],
        held_out=(held, one_hot[data.validation.labels]),
        shared=True,
    )
    figures["accuracy"] = _right(readout(test).argmax(1), data.test)
    figures["validation"] = _right(readout(held).argmax(1), data.validation)
    if logistic:
        figures["logistic"] = _logistic(X, held, test, data)
    return {**figures, "readout": float(readout.weights.size + data.classes)}


def at_the_end(network: RecurrentNetwork, part: Part, timing: Timing, activity: Activity) -> Array:
    """Filtered spikes at the last value of each sequence [n, N]."""
    ends = np.empty((len(part.labels), len(network)))
    # Neighbours in length, so that few are presented longer than they are.
    order = np.argsort(part.lengths, kind="stable")
    for first in range(0, len(order), TOGETHER):
        some = order[first : first + TOGETHER]
        longest = int(part.lengths[some].max())
        values = part.values[some, :longest].transpose(1, 0, 2)
        features, _ = present(network, values, timing, activity=activity)
        ends[some] = features[part.lengths[some] - 1, np.arange(len(some))]
    return ends


def _logistic(X: Array, held: Array, test: Array, data: Labelled) -> float:
    regression = require("sklearn.linear_model", to="fit a logistic readout").LogisticRegression
    mean, deviation = X.mean(0), X.std(0)
    deviation[deviation == 0] = 1.0
    X, held, test = ((part - mean) / deviation for part in (X, held, test))
    fits = [
        regression(C=C, tol=1e-2, max_iter=2000).fit(X, data.train.labels)
        for C in INVERSE_PENALTIES
    ]
    best = max(fits, key=lambda fit: float(fit.score(held, data.validation.labels)))
    return _right(best.predict(test), data.test)


def _right(predicted: Array, part: Part) -> float:
    return float((predicted == part.labels).mean())
