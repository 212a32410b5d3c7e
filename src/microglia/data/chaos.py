"""Chaotic series, integrated: what a network without any task's data is asked to forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from microglia.data.series import Series
from microglia.errors import ConfigError

Array = NDArray[Any]

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
EXPONENT = {"lorenz": 0.9056, "rossler": 0.0714, "mackey-glass": 0.0060}
"""Largest Lyapunov exponent, per unit of the system's own time; its inverse is a Lyapunov time."""


def lorenz(points: int, *, step: float = 0.02, seed: int = 0) -> Series:
    """Lorenz-63 on its attractor, [points, 3], a point every `step` of its time.

        x' = 10 (y − x),   y' = x (28 − z) − y,   z' = x y − 8/3 z

    Source: Lorenz, J. Atmos. Sci. 1963.
    """

    def flow(t: float, u: Array) -> list[float]:
        x, y, z = u
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    start = np.array([1.0, 1.0, 25.0]) + np.random.default_rng(seed).standard_normal(3)
    return _series("lorenz", "xyz", _sampled(flow, start, points, step=step, settle=50.0))


def rossler(points: int, *, step: float = 0.25, seed: int = 0) -> Series:
    """Rössler's system on its attractor, [points, 3], a point every `step` of its time.

        x' = −y − z,   y' = x + 0.2 y,   z' = 0.2 + z (x − 5.7)

    Source: Rössler, Phys. Lett. A 1976.
    """

    def flow(t: float, u: Array) -> list[float]:
        x, y, z = u
        return [-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)]

    start = np.array([1.0, 1.0, 0.0]) + 0.1 * np.random.default_rng(seed).standard_normal(3)
    return _series("rossler", "xyz", _sampled(flow, start, points, step=step, settle=200.0))


def mackey_glass(points: int, *, step: float = 1.0, delay: float = 17.0, seed: int = 0) -> Series:
    """Mackey and Glass's delayed feedback, [points, 1], a point every `step` of its time.

        x'(t) = 0.2 x(t − τ) / (1 + x(t − τ)¹⁰) − 0.1 x(t)

    Integrated from one delay to the next, the last stretch being known. Source: Mackey and Glass,
    Science 1977.
    """
    _check(points, step)
    past: Callable[[float], Any] = _constant(1.2 + 0.1 * np.random.default_rng(seed).uniform(-1, 1))
    settle = 60 * delay
    times = settle + step * np.arange(points)
    values, begin, last = np.empty(points), 0.0, float(past(0.0))
    while begin <= times[-1]:
        known = past

        def flow(t: float, u: Array, known: Callable[[float], Any] = known) -> Array:
            late = float(known(t - delay))
            return 0.2 * late / (1 + late**10) - 0.1 * u

        piece = solve_ivp(
            flow, (begin, begin + delay), [last], dense_output=True, method="LSODA", **TOLERANCE
        )
        inside = (times >= begin) & (times < begin + delay)
        if inside.any():
            values[inside] = piece.sol(times[inside])[0]
        last, begin = float(piece.y[0, -1]), begin + delay
        past = _first(piece.sol)
    return _series("mackey-glass", "x", values[:, None])


def _constant(value: float) -> Callable[[float], float]:
    return lambda t: value


def _first(solution: Callable[[float], Array]) -> Callable[[float], float]:
    return lambda t: float(solution(t)[0])


def _sampled(
    flow: Callable[[float, Array], list[float]],
    start: Array,
    points: int,
    *,
    step: float,
    settle: float,
) -> Array:
    """Points of the trajectory after it has settled, [points, 3]."""
    _check(points, step)
    times = settle + step * np.arange(points)
    found = solve_ivp(flow, (0.0, times[-1]), start, t_eval=times, method="LSODA", **TOLERANCE)
    return np.asarray(found.y.T)


def _check(points: int, step: float) -> None:
    if points < 1 or not 0 < step < np.inf:
        raise ConfigError(f"points, step: at least 1 and above 0 expected, got {points}, {step}")


def _series(name: str, variables: str, values: Array) -> Series:
    return Series(torch.from_numpy(values.astype(np.float32)), tuple(variables), name)
