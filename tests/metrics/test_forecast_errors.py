"""Errors of forecasts, and for how long one holds."""

from __future__ import annotations

import numpy as np
import pytest

from microglia.errors import DataError
from microglia.metrics.forecast import errors, nrmse, valid_steps


def series(seed: int, *, T: int = 50, V: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, V)) * [1.0, 5.0, 0.01][:V] + 3.0


@pytest.mark.parametrize("seed", range(4))
def test_the_truth_has_no_error_and_its_mean_has_one(seed: int) -> None:
    x = series(seed)
    assert nrmse(x, x) == 0
    assert nrmse(np.broadcast_to(x.mean(0), x.shape), x) == pytest.approx(1)
    assert nrmse(x + 0.5 * x.std(0), x) == pytest.approx(0.5)
    # Whatever the units of each variable.
    assert nrmse(3 * x - 1 + 0.2 * x.std(0), 3 * x - 1) == pytest.approx(0.2 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_persistence_of_noise_errs_by_the_root_of_two(seed: int) -> None:
    x = series(seed, T=20_000)
    assert nrmse(x[:-1], x[1:]) == pytest.approx(np.sqrt(2), rel=0.02)


def test_what_has_no_error_is_refused() -> None:
    x = series(0)
    constant = x.copy()
    constant[:, 1] = 2.0
    with pytest.raises(DataError, match="variable 1 is constant"):
        nrmse(x, constant)
    for wrong in (np.nan, np.inf):
        bad = x.copy()
        bad[4, 0] = wrong
        for pair in ((bad, x), (x, bad)):
            with pytest.raises(DataError, match="no number"):
                nrmse(*pair)
    for pair in ((x, x[:-1]), (x[:1], x[:1]), (x[:, 0], x[:, 0])):
        with pytest.raises(DataError, match=r"wanted two times \[T, V\]"):
            nrmse(*pair)


@pytest.mark.parametrize("seed", range(3))
def test_a_forecast_holds_until_its_error_first_exceeds_the_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, deviation = rng.standard_normal((40, 6, 2)), np.array([1.0, 4.0])
    assert (valid_steps(x, x, deviation=deviation) == 40).all()
    first = rng.integers(0, 40, 6)
    forecast = x.copy()
    for b, t in enumerate(first):
        forecast[t, b] += 0.41 * deviation
        if t < 39:
            forecast[t + 1 :, b] += rng.uniform(0, 9, (39 - t, 2))  # whatever comes later
    assert np.array_equal(valid_steps(forecast, x, deviation=deviation), first)
    assert (valid_steps(x + 0.39 * deviation, x, deviation=deviation) == 40).all()
    assert (valid_steps(x + 0.39 * deviation, x, deviation=deviation, threshold=0.38) == 0).all()


def test_a_forecast_that_is_no_number_does_not_hold() -> None:
    x = np.zeros((10, 3, 1))
    forecast = x.copy()
    forecast[4, 0], forecast[2, 1] = np.nan, np.inf
    assert valid_steps(forecast, x, deviation=np.ones(1)).tolist() == [4, 2, 10]
    assert np.isinf(errors(forecast, x, np.ones(1))[4, 0])
    with pytest.raises(DataError, match="deviations above 0"):
        valid_steps(x, x, deviation=np.zeros(1))
    with pytest.raises(DataError, match="wanted two times"):
        valid_steps(x, x[:5], deviation=np.ones(1))
