"""Input that stands for no task: smooth noise, and white noise held for a while."""

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
    T = _steps(duration, dt)
    count = int(np.ceil(duration / STEP)) + 2
    xi = generator.standard_normal((count, channels))
    xi[1:] *= np.sqrt(1 - KEPT**2)
    z = lfilter([1.0], [1.0, -KEPT], xi, axis=0)
    times, knots = np.arange(T) * dt, np.arange(count) * STEP
    u = np.empty((T, channels))
    for k in range(channels):
        u[:, k] = np.interp(times, knots, z[:, k])
    return u


def held_noise(
    steps: int, *, hold: float, dt: float, generator: np.random.Generator
) -> tuple[Array, Array]:
    """White noise uniform in [−1, 1], and the same held for `hold` seconds each: [steps], [T].

    Raises:
        ConfigError: a value would be held for less than a step.
    """
    values = generator.uniform(-1, 1, steps)
    return values, np.repeat(values, _steps(hold, dt))


def _steps(duration: float, dt: float) -> int:
    if not np.isfinite(duration) or round(duration / dt) < 1:
        raise ConfigError(f"wanted at least a step of {dt} s, got {duration} s")
    return round(duration / dt)
