"""A measured series, forecast at several horizons, beside what needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.errors import ConfigError, DataError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.metrics.forecast import nrmse
from microglia.simulation import fit_ridge
from microglia.tasks.forecast import scaled
from microglia.tasks.reservoir import Activity, Timing, fed, present

Array = NDArray[Any]

SHARES = (0.7, 0.1)
"""Of a series that readouts learn from and choose by; the rest is the test."""
LAGS = (1, 4, 16)
"""How many of the last values a linear autoregression may look at."""


def forecast_horizons(
    network: RecurrentNetwork,
    series: Array,
    timing: Timing,
    *,
    horizons: Sequence[int],
    changes: bool = False,
    washout: int = 100,
    scale: float | None = 1.0,
    seed: int = 0,
) -> dict[str, float]:
    """Errors at each horizon: the network's, persistence's and a linear autoregression's.

    For each h a ridge readout tells x_{t+h} − x_t, at once and not step by step; the error is that
    of x_{t+h}, over all variables. The autoregression does the same from the last values, as many
    of `LAGS` as err least on the validation part.

    Args:
        series: [P, V].
        changes: x_t − x_{t−1} comes in and not x_t, for series that leave the range of the past.
        washout: points at the start that nothing is learnt from.

    Returns:
        nrmse, persistence and linear, each followed by `_h` and the horizon; rate, synops, readout.

    Raises:
        DataError: too few points for the longest horizon, a constant, a value that is no number.
        ConfigError: no horizon, or the network is silent or saturated.
    """
    if not horizons or min(horizons) < 1:
        raise ConfigError(f"horizons: wanted whole numbers of steps from 1 on, got {horizons}")
    series = np.asarray(series, np.float64)
    P, longest = len(series), max(horizons)
    learn, choose = round(SHARES[0] * P), round((SHARES[0] + SHARES[1]) * P)
    if min(learn - washout, choose - learn, P - choose) - longest < 10:
        raise DataError(
            f"series: {P} points are too few for a horizon of {longest}: {learn - washout} to "
            f"learn from, {choose - learn} to choose by and {P - choose} to be scored on"
        )
    x = scaled(series, series[:learn])
    came = coming(x, learn, changes=changes)
    network = fed(network, x.shape[1], scale=scale, seed=seed)
    activity = Activity()
    traces, _ = present(network, came[:, None], timing, activity=activity)
    figures = activity.figures(network)

    reservoir = np.concatenate([traces[:, 0], came], axis=1)
    lagged = [_lagged(came, lags) for lags in LAGS]
    weights = 0
    for h in horizons:
        parts = [(washout, learn - h), (learn, choose - h), (choose, P - h)]
        *known, (begin, end) = parts
        truth = x[begin + h : end + h]
        figures[f"persistence_h{h}"] = nrmse(x[begin:end], truth)
        for name, candidates in (("nrmse", [reservoir]), ("linear", lagged)):
            fits = [_fit(features, x, h, known) for features in candidates]
            best = min(range(len(fits)), key=lambda k: fits[k][1])
            readout = fits[best][0]
            told = x[begin:end] + readout(candidates[best][begin:end])
            figures[f"{name}_h{h}"] = nrmse(told, truth)
            if name == "nrmse":
                weights += readout.weights.size + x.shape[1]
    return {**figures, "readout": float(weights)}


def coming(x: Array, learn: int, *, changes: bool) -> Array:
    """What comes into the network of a scaled series: itself, or its changes in units of theirs."""
    if not changes:
        return x
    steps = np.diff(x, axis=0, prepend=x[:1])
    return np.asarray(steps / steps[:learn].std(0))


def _fit(features: Array, x: Array, h: int, parts: list[tuple[int, int]]) -> tuple[Any, float]:
    """The readout of the change over h steps, and its squared error on the validation part."""
    (X, Y), held = (
        (features[begin:end], x[begin + h : end + h] - x[begin:end]) for begin, end in parts
    )
    readout = fit_ridge(X, Y, held_out=held)
    return readout, float(((readout(held[0]) - held[1]) ** 2).mean())


def _lagged(values: Array, lags: int) -> Array:
    """The last `lags` values of each point [P, lags · V], the first one where there are none."""
    padded = np.concatenate([np.repeat(values[:1], lags - 1, axis=0), values])
    return np.concatenate([padded[k : k + len(values)] for k in range(lags)], axis=1)
