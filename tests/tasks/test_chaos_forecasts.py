"""Forecasts a step ahead and running free; what can't be forecast is said."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from reservoirs import network, saturated, silent

from microglia.errors import ConfigError, DataError
from microglia.simulation import Readout
from microglia.tasks import forecast
from microglia.tasks.forecast import Fitted, Forecaster, _free
from microglia.tasks.reservoir import Activity, Position, Timing, fed, present

TIMING = Timing(hold=0.005)


def wave(points: int = 700) -> np.ndarray:
    """Two periods that never meet, in units of their own."""
    t = np.arange(points)
    return np.stack([5 + np.sin(0.3 * t), 1e-3 * np.cos(0.3 * np.sqrt(2) * t)], axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_series_that_follows_from_its_last_point_is_forecast(seed: int) -> None:
    x = np.stack([np.sin(0.3 * np.arange(700)), np.cos(0.3 * np.arange(700))], axis=1)
    found = forecast(network(seed), x, TIMING, lyapunov_points=20, starts=5, seed=seed)
    assert found["nrmse"] < 0.05  # a rotation is linear, and the point itself is a feature
    assert found["nrmse"] < found["persistence"]
    assert 0 < found["vpt_median"] <= 5
    assert found["readout"] == (60 + 2 + 1) * 2
    # Repeating the last point: √(2 − 2 cos 0.3), whatever the network.
    assert found["persistence"] == pytest.approx(np.sqrt(2 - 2 * np.cos(0.3)), rel=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_errors_do_not_depend_on_units(seed: int) -> None:
    x = wave()
    mine, theirs = (
        forecast(network(seed), y, TIMING, lyapunov_points=20, free=False)
        for y in (x, 1000 * x - 7)
    )
    assert mine["nrmse"] == pytest.approx(theirs["nrmse"], rel=1e-6)
    assert mine["persistence"] == pytest.approx(theirs["persistence"])
    assert "vpt" not in mine


def some_forecaster(seed: int) -> tuple[Forecaster, Position, np.ndarray]:
    rng = np.random.default_rng(seed)
    net = fed(network(seed), 2, seed=seed)
    readout = Readout(0.3 * rng.standard_normal((62, 2)), np.zeros(62), np.zeros(2), np.zeros(2))
    low, high = np.array([-1.0, -0.7]), np.array([0.8, 1.0])
    start = rng.standard_normal((6, 3, 2))
    _, position = present(net, start, TIMING, activity=Activity())
    return Forecaster(net, readout, TIMING, low, high), position, start[-1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_running_free_is_a_step_after_the_other(seed: int) -> None:
    """Each sample alone, from the whole of its own past, gives what the batch gave."""
    forecaster, position, value = some_forecaster(seed)
    free = np.stack(list(islice(forecaster.run_free(position, value), 8)))
    rng = np.random.default_rng(seed)
    rng.standard_normal((62, 2))
    start = rng.standard_normal((6, 3, 2))
    for b in range(3):
        past = start[:, [b]]
        for wanted in free[:, b]:
            traces, _ = present(forecaster.network, past, TIMING, activity=Activity())
            features = np.concatenate([traces[-1], past[-1]], axis=1)
            told = np.clip(forecaster.readout(features), forecaster.low, forecaster.high)
            assert np.allclose(told[0], wanted, atol=1e-9)
            past = np.concatenate([past, told[None]])
    assert (free >= forecaster.low).all()
    assert (free <= forecaster.high).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_free_run_is_valid_as_long_as_it_is_the_truth(seed: int) -> None:
    forecaster, position, value = some_forecaster(seed)

    def fitted(truth: np.ndarray) -> Fitted:
        return Fitted(forecaster, {}, position, value, truth)

    truth = np.stack(list(islice(forecaster.run_free(position, value), 12)))
    assert (_free(fitted(truth), threshold=0.4) == 12).all()
    for b, t in enumerate((0, 4, 7)):
        truth[t:, b] += 5.0
    assert _free(fitted(truth), threshold=0.4).tolist() == [0, 4, 7]


def test_what_cannot_be_forecast_is_said() -> None:
    net, x = network(), wave()
    with pytest.raises(DataError, match="variable 1 is constant"):
        forecast(net, np.stack([x[:, 0], np.full(700, 0.1)], axis=1), TIMING, lyapunov_points=20)
    gap = x.copy()
    gap[33, 1] = np.nan
    with pytest.raises(DataError, match="point 33 is no number"):
        forecast(net, gap, TIMING, lyapunov_points=20)
    with pytest.raises(DataError, match="too few, of which 100 are washed out"):
        forecast(net, x[:140], TIMING, lyapunov_points=20)
    with pytest.raises(DataError, match="50 starts and a horizon of 150"):
        forecast(net, x, TIMING, lyapunov_points=30)
    with pytest.raises(ConfigError, match="starts"):
        forecast(net, x, TIMING, lyapunov_points=20, starts=0)
    with pytest.raises(ConfigError, match="silent"):
        forecast(silent(), x, TIMING, lyapunov_points=20, starts=3)
    with pytest.raises(ConfigError, match="saturated"):
        forecast(saturated(), x, TIMING, lyapunov_points=20, starts=3)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_known_of_what_comes_later(seed: int) -> None:
    """What follows the one free-running forecast, in the test part, does not change it."""
    x = wave() + np.random.default_rng(seed).normal(0, [0.3, 3e-4], (700, 2))
    other = x.copy()
    other[561:] = 100 * other[561:][::-1]  # the test part begins at 550
    mine, theirs = (
        forecast(network(seed), y, TIMING, lyapunov_points=2, starts=1, horizon=5.0)
        for y in (x, other)
    )
    assert mine["vpt"] == theirs["vpt"] < 5
    assert mine["nrmse"] != theirs["nrmse"]
