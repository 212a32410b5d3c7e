"""Chaotic series satisfy their equations, and are as chaotic as is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from microglia.data.chaos import EXPONENT, lorenz, mackey_glass, rossler
from microglia.data.series import Series
from microglia.errors import ConfigError

SYSTEMS: dict[str, tuple[Callable[..., Series], int]] = {
    "lorenz": (lorenz, 3),
    "rossler": (rossler, 3),
    "mackey-glass": (mackey_glass, 1),
}


def lorenz_flow(u: np.ndarray) -> np.ndarray:
    x, y, z = u
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def rossler_flow(u: np.ndarray) -> np.ndarray:
    x, y, z = u
    return np.array([-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)])


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_seed_gives_the_same_series_and_another_another(name: str) -> None:
    make, variables = SYSTEMS[name]
    one, again, other = make(40, seed=1), make(40, seed=1), make(40, seed=2)
    assert one.values.shape == (40, variables)
    assert np.array_equal(one.values, again.values)
    assert not np.allclose(one.values, other.values, atol=0.01)
    assert one.values.isfinite().all()
    assert name in EXPONENT


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("make", "flow"), [(lorenz, lorenz_flow), (rossler, rossler_flow)])
def test_finite_differences_are_the_flow(
    make: Callable[..., Series], flow: Callable[[np.ndarray], np.ndarray], seed: int
) -> None:
    """To the eighth order in the step, but for the rounding to float32."""
    step = 0.02
    x = np.asarray(make(300, step=step, seed=seed).values, np.float64)
    weights = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
    slopes = sum(w * x[k : len(x) - 8 + k] for k, w in enumerate(weights)) / step
    wanted = np.stack([flow(u) for u in x[4:-4]])
    scale = np.abs(wanted).max(0)
    assert (np.abs(slopes - wanted) / scale).max() < 1e-3


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("delay", [17.0, 10.0])
def test_mackey_and_glass_feed_back_what_was_a_delay_ago(seed: int, delay: float) -> None:
    step = 0.1
    x = np.asarray(mackey_glass(800, step=step, delay=delay, seed=seed).values, np.float64)[:, 0]
    lag = round(delay / step)
    slopes = (x[lag + 2 :] - x[lag:-2]) / (2 * step)
    now, late = x[lag + 1 : -1], x[1 : -lag - 1]
    wanted = 0.2 * late / (1 + late**10) - 0.1 * now
    assert np.abs(slopes - wanted).max() < 2e-3 * np.abs(wanted).max()


def test_lorenz_is_as_chaotic_as_is_known() -> None:
    """The largest exponent, from perturbations carried along by the linearised flow."""

    def tangent(state: np.ndarray) -> np.ndarray:
        (x, y, z), (dx, dy, dz) = state
        along = [10 * (dy - dx), (28 - z) * dx - dy - x * dz, y * dx + x * dy - 8 / 3 * dz]
        return np.stack([lorenz_flow(state[0]), along])

    u = np.asarray(lorenz(400, step=1.0).values, np.float64).T
    state, step, grown = np.stack([u, np.ones_like(u)]), 0.01, []
    for k in range(2000):
        a = tangent(state)
        b = tangent(state + step / 2 * a)
        c = tangent(state + step / 2 * b)
        d = tangent(state + step * c)
        state = state + step / 6 * (a + 2 * b + 2 * c + d)
        size = np.linalg.norm(state[1], axis=0)
        state[1] /= size
        if k >= 500:  # by then perturbations have turned into the leading direction
            grown.append(np.log(size).mean())
    assert np.mean(grown) / step == pytest.approx(EXPONENT["lorenz"], abs=0.03)


@pytest.mark.parametrize("name", ["lorenz", "rossler"])
def test_series_are_on_the_attractor(name: str) -> None:
    """Known bounds, and means over a long stretch."""
    make, _ = SYSTEMS[name]
    x = np.asarray(make(4000, seed=3).values)
    if name == "lorenz":
        assert np.abs(x[:, :2]).max() < 30
        assert x[:, 2].min() > 0
        assert x[:, 2].max() < 50
        assert x[:, 2].mean() == pytest.approx(23.5, abs=1.0)
    else:
        assert np.abs(x[:, :2]).max() < 13
        assert x[:, 2].min() > 0
        assert x[:, 2].max() < 25


@pytest.mark.parametrize("name", SYSTEMS)
def test_too_few_points_and_no_step_are_refused(name: str) -> None:
    make, _ = SYSTEMS[name]
    for settings in ({"points": 0}, {"points": 5, "step": 0.0}, {"points": 5, "step": np.inf}):
        with pytest.raises(ConfigError, match="points, step"):
            make(**settings)
