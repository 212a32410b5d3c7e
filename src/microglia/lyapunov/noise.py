"""Input that stands for no task: smooth noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from microglia.errors import ConfigError

Array = NDArray[Any]

STEP = 0.010  # s between two values of the smooth noise
KEPT = 0.9  # of each value in the next


def smooth_noise(
    channels: int, *, duration: float, dt: float, generator: np.random.Generator
) -> Array:
    """Independent smooth noise of unit variance, u [T, channels].

        z_k = 0.9 z_{k−1} + √(1 − 0.9²) ξ_k,   ξ ~ N(0, 1)      every 10 ms, u in between linear

    Raises:
        ConfigError: it would last less than a step.
    """
    T = steps_in(duration, dt)
    count = int(np.ceil(duration / STEP)) + 2
    xi = generator.standard_normal((count, channels))
    xi[1:] *= np.sqrt(1 - KEPT**2)
    z = lfilter([1.0], [1.0, -KEPT], xi, axis=0)
    times, knots = np.arange(T) * dt, np.arange(count) * STEP
    u = np.empty((T, channels))
    for k in range(channels):
        u[:, k] = np.interp(times, knots, z[:, k])
    return u


def steps_in(duration: float, dt: float) -> int:
    """Steps of the grid in so many seconds. Raises ConfigError where there is none."""
    if not np.isfinite(duration) or round(duration / dt) < 1:
        raise ConfigError(f"wanted at least a step of {dt} s, got {duration} s")
    return round(duration / dt)
