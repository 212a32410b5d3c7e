"""Lorenz' system forecast by a reservoir: one step ahead, and left to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.data.chaos import EXPONENT, lorenz
from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.simulation import fit_ridge, simulate

Array = NDArray[Any]

STEP, HOLD, TAU = 0.02, 0.040, 0.060
"""Lorenz time between two points, how long the network is shown one, the filter over spikes (s)."""
SETTLE, TRAIN, CHOOSE, TEST = 100, 2000, 400, 400
STARTS, FREE = 12, 250
TOLERANCE = 0.4


@dataclass(frozen=True, eq=False)
class Forecast:
    """`error` is the NRMSE a step ahead; `horizon`, in Lyapunov times, how long the free forecast
    stays within 0.4 standard deviations, its mean over starts; `truth` and `free` [FREE, 3] of the
    first start, in standard deviations."""

    error: float
    horizon: float
    truth: Array
    free: Array


def forecast_lorenz(network: RecurrentNetwork, *, seed: int = 0) -> Forecast:
    """A ridge readout of filtered spikes and the present point learns the next point; then it is
    given its own forecasts.

    Raises:
        ConfigError: the network hasn't three inputs.
    """
    if network.inputs is None or network.inputs.shape[1] != 3:
        raise ConfigError("task: Lorenz' system has x, y, z; wanted a network with inputs = 3")
    gap = 100
    points = SETTLE + TRAIN + CHOOSE + TEST + STARTS * gap + FREE + 1
    u = lorenz(points, step=STEP, seed=seed).values.double().numpy()
    seen = slice(SETTLE, SETTLE + TRAIN)
    u = (u - u[seen].mean(0)) / u[seen].std(0)
    hold = round(HOLD / network.dt)
    ends = SETTLE + np.cumsum([TRAIN, CHOOSE, TEST])
    run = simulate(network, np.repeat(u[: ends[-1]], hold, axis=0))
    X = np.hstack([run.filtered(TAU, dt=network.dt, every=hold), u[: ends[-1]]])
    Y = u[1 : ends[-1] + 1]
    parts = [slice(a, b) for a, b in zip([SETTLE, *ends], ends, strict=False)]
    train, choose, test = parts
    readout = fit_ridge(X[train], Y[train], held_out=(X[choose], Y[choose]))
    wrong = readout(X[test]) - Y[test]
    error = float(np.sqrt((wrong**2).mean() / Y[test].var(0).mean()))

    starts = ends[-1] + gap * np.arange(STARTS)
    past = np.stack([u[s - SETTLE : s] for s in starts], axis=1)
    truth = np.stack([u[s : s + FREE] for s in starts], axis=1)
    warm = simulate(network, np.repeat(past, hold, axis=0))
    trace = warm.filtered(TAU, dt=network.dt, every=hold)[-1]
    state, now, free = warm.state, past[-1], np.empty_like(truth)
    for k in range(FREE):
        # A forecast that runs away stops at ten standard deviations.
        now = readout(np.concatenate([trace, now], axis=1)).clip(-10, 10)
        free[k] = now
        shown = np.repeat(now[None], hold, axis=0)
        run = simulate(network, shown, state=state)
        trace, state = run.filtered(TAU, dt=network.dt, every=hold, start=trace)[-1], run.state
    off = np.sqrt(((free - truth) ** 2).mean(2)) > TOLERANCE
    valid = np.where(off.any(0), off.argmax(0), FREE)
    horizon = float(valid.mean() * STEP * EXPONENT["lorenz"])
    return Forecast(error, horizon, truth[:, 0], free[:, 0])
