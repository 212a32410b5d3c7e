"""Measured series at horizons, beside persistence and a linear autoregression."""

from __future__ import annotations

import numpy as np
import pytest
from reservoirs import network, saturated, silent

from microglia.errors import ConfigError, DataError
from microglia.tasks import forecast_horizons
from microglia.tasks.horizons import _lagged
from microglia.tasks.reservoir import Timing

TIMING = Timing(hold=0.004)


def noise(seed: int, points: int = 1500) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((points, 2)) * [1, 50] + 7


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_can_only_be_told_by_its_mean(seed: int) -> None:
    found = forecast_horizons(network(seed), noise(seed), TIMING, horizons=(1, 5))
    for h in (1, 5):
        assert found[f"persistence_h{h}"] == pytest.approx(np.sqrt(2), rel=0.1)
        assert found[f"linear_h{h}"] == pytest.approx(1, abs=0.05)
        assert found[f"nrmse_h{h}"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_walk_is_where_it_was(seed: int) -> None:
    walk = np.random.default_rng(seed).standard_normal((3000, 1)).cumsum(0)
    found = forecast_horizons(network(seed), walk, TIMING, horizons=(1, 20), changes=True)
    for h in (1, 20):
        for name in ("nrmse", "linear"):
            assert found[f"{name}_h{h}"] == pytest.approx(found[f"persistence_h{h}"], rel=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_autoregression_tells_what_is_linear(seed: int) -> None:
    """x_t = 2 cos ω x_{t−1} − x_{t−2}: from two values, and so at any horizon."""
    wave = np.sin(0.7 * np.arange(1200) + seed)[:, None]
    found = forecast_horizons(network(seed), wave, TIMING, horizons=(1, 9))
    assert max(found["linear_h1"], found["linear_h9"]) < 0.01
    assert found["persistence_h9"] == pytest.approx(np.sqrt(2 - 2 * np.cos(6.3)), rel=0.05)


def test_the_last_values_stand_beside_each_other() -> None:
    values = np.arange(10.0).reshape(5, 2)
    assert np.array_equal(_lagged(values, 1), values)
    found = _lagged(values, 3)
    assert found[4].tolist() == [4, 5, 6, 7, 8, 9]
    assert found[0].tolist() == [0, 1] * 3, "and nothing from later"


def test_what_cannot_be_forecast_is_said() -> None:
    net, x = network(), noise(0)
    with pytest.raises(DataError, match="too few for a horizon of 200"):
        forecast_horizons(net, x, TIMING, horizons=(1, 200))
    for horizons in ((), (0, 1)):
        with pytest.raises(ConfigError, match="horizons"):
            forecast_horizons(net, x, TIMING, horizons=horizons)
    constant = x.copy()
    constant[:1050, 0] = 0.3  # the training part alone
    with pytest.raises(DataError, match="variable 0 is constant in the training part"):
        forecast_horizons(net, constant, TIMING, horizons=(1,))
    gap = x.copy()
    gap[1400, 0] = np.nan
    with pytest.raises(DataError, match="point 1400 is no number"):
        forecast_horizons(net, gap, TIMING, horizons=(1,))
    for bad, word in ((silent(), "silent"), (saturated(), "saturated")):
        with pytest.raises(ConfigError, match=word):
            forecast_horizons(bad, x, TIMING, horizons=(1,))
