"""Growth of perturbations by repeated QR decomposition (Benettin et al. 1980)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from microglia.frameworks.recurrent import Array
from microglia.lyapunov.smooth import check_bounded

# A diagonal of R this far below the largest is rounding: that direction was forgotten wholly.
FORGOTTEN = 1e-14


class Flow(Protocol):
    """A dynamical system that carries perturbations `tangent` [rows, k] along."""

    dt: float
    dimension: int
    tangent: Array
    spikes: int  # so far, of a network that spikes

    def directions(self, k: int, rng: np.random.Generator) -> Array: ...

    def advance(self, steps: int) -> None: ...


def growth(flow: Flow, intervals: int, steps: int) -> Array:
    """log |R_aa| of each of `intervals` intervals of `steps` steps, [intervals, k].

    Perturbations are made orthonormal after each. −inf where a direction was lost.

    Raises:
        ConfigError: perturbations grew beyond all numbers.
    """
    logs = np.empty((intervals, flow.tangent.shape[1]))
    for row in logs:
        flow.advance(steps)
        check_bounded(flow.tangent)
        Q, R = np.linalg.qr(flow.tangent)
        stretch = np.abs(np.diagonal(R))
        with np.errstate(divide="ignore"):
            row[:] = np.log(np.where(stretch > FORGOTTEN * stretch.max(), stretch, 0))
        flow.tangent = Q
    return logs
