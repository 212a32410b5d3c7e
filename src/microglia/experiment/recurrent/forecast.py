"""Lorenz' system forecast by a network as it is: one step ahead, and left to itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.data.chaos import EXPONENT, lorenz
from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.metrics.forecast import valid_steps
from microglia.tasks.forecast import fit_forecaster
from microglia.tasks.reservoir import Timing

Array = NDArray[Any]

STEP = 0.02
"""Lorenz time between two points."""
TIMING = Timing(hold=0.040, tau=0.060)
POINTS, STARTS, FREE = 4000, 12, 250
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
    """See `tasks.forecast`; the network keeps its own input weights.

    Raises:
        ConfigError: the network hasn't three inputs, or is silent or saturated.
    """
    if network.inputs is None or network.inputs.shape[1] != 3:
        raise ConfigError("task: Lorenz' system has x, y, z; wanted a network with inputs = 3")
    series = lorenz(POINTS, step=STEP, seed=seed).values.double().numpy()
    found = fit_forecaster(network, series, TIMING, starts=STARTS, longest=FREE, scale=None)
    free = np.stack(list(islice(found.forecaster.run_free(found.positions, found.last), FREE)))
    valid = valid_steps(free, found.truth, deviation=np.ones(3), threshold=TOLERANCE)
    horizon = float(valid.mean() * STEP * EXPONENT["lorenz"])
    return Forecast(found.figures["nrmse"], horizon, found.truth[:, 0], free[:, 0])
