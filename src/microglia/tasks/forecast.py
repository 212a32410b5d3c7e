"""A chaotic series, forecast a step ahead, and running free from many starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.errors import ConfigError, DataError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.metrics.forecast import errors, nrmse, valid_steps
from microglia.simulation import Readout, fit_ridge
from microglia.tasks.reservoir import Activity, Position, Timing, fed, present

Array = NDArray[Any]

SHARES = (0.6, 0.15, 0.25)
"""Of a series that readouts learn from, choose by, and are scored on, in the order of time."""
WASHOUT = 100
"""Points at the start that nothing is learnt from."""
BEYOND = 0.5
"""How far, in ranges of the training part, a free-running forecast may leave that range."""


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A network and a readout that tells the next value from filtered spikes and the last value.

    `low` and `high` [V] are what its own forecasts are held between when they come in.
    """

    network: RecurrentNetwork
    readout: Readout
    timing: Timing
    low: Array
    high: Array

    def next(self, trace: Array, value: Array) -> Array:
        """[B, N] and [B, V] to the value that comes next [B, V]."""
        return self.readout(np.concatenate([trace, value], axis=-1)).clip(self.low, self.high)

    def run_free(self, position: Position, value: Array) -> Iterator[Array]:
        """One value after the other [B, V], each from the ones forecast before it."""
        while True:
            value = self.next(position.trace, value)
            yield value
            _, position = present(
                self.network, value[None], self.timing, activity=Activity(), position=position
            )


def forecast(
    network: RecurrentNetwork,
    series: Array,
    timing: Timing,
    *,
    lyapunov_points: float,
    starts: int = 50,
    horizon: float = 5.0,
    threshold: float = 0.4,
    washout: int = WASHOUT,
    scale: float | None = 1.0,
    free: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """Errors of the next point, and for how many Lyapunov times a forecast holds that runs free.

    Each point, scaled by the training part, is held for `timing.hold`; a ridge readout of filtered
    spikes, the point and a constant tells the next one. From each of `starts` places in the test
    part, the network having seen all that came before, forecasts are then fed back in place of
    points until their error exceeds `threshold` (`valid_steps`).

    Args:
        series: [P, V].
        lyapunov_points: a Lyapunov time, in points.
        horizon: the longest that is looked at, in Lyapunov times.
        washout: points at the start that nothing is learnt from.
        scale: standard deviation of the input weights; None keeps the network's own.
        free: whether there is a free-running forecast.
        seed: of the input weights.

    Returns:
        nrmse, validation (that of the validation part), persistence (that of repeating the last
        point), vpt and vpt_median in Lyapunov times, rate, synops, readout (its weights).

    Raises:
        DataError: too few points, a constant, a value that is no number.
        ConfigError: the network is silent or saturated.
    """
    longest = int(np.ceil(horizon * lyapunov_points))
    if starts < 1 or not lyapunov_points > 0:
        raise ConfigError(f"starts: wanted at least 1, got {starts}; {lyapunov_points=}")
    fitted = fit_forecaster(
        network,
        series,
        timing,
        starts=starts if free else 0,
        longest=longest,
        washout=washout,
        scale=scale,
        seed=seed,
    )
    figures = dict(fitted.figures)
    if free:
        steps = _free(fitted, threshold=threshold)
        figures["vpt"] = float(steps.mean() / lyapunov_points)
        figures["vpt_median"] = float(np.median(steps) / lyapunov_points)
    return figures


@dataclass(frozen=True, eq=False)
class Fitted:
    """A forecaster, and places of the test part that it may be left to itself from.

    `figures` are nrmse, validation, persistence, rate, synops and readout; `positions` where the
    network stands after each of B places, `last` [B, V] the points there, and `truth` [T, B, V]
    those that follow.
    """

    forecaster: Forecaster
    figures: dict[str, float]
    positions: Position
    last: Array
    truth: Array


def fit_forecaster(
    network: RecurrentNetwork,
    series: Array,
    timing: Timing,
    *,
    starts: int,
    longest: int,
    washout: int = WASHOUT,
    scale: float | None = 1.0,
    seed: int = 0,
) -> Fitted:
    """The ridge readout of `forecast`, with `starts` places before `longest` points each.

    Raises:
        DataError, ConfigError: as `forecast`.
    """
    series = np.asarray(series, np.float64)
    learn, choose = borders(len(series), washout)
    if starts and len(series) - choose < longest + starts:
        raise DataError(
            f"series: {len(series) - choose} points of the test part are too few for {starts} "
            f"starts and a horizon of {longest}"
        )
    x = scaled(series, series[washout:learn])
    training = x[washout:learn]
    network = fed(network, x.shape[1], scale=scale, seed=seed)
    activity = Activity()
    places = np.linspace(choose, len(x) - longest - 1, starts).astype(int)
    traces, positions = _whole(network, x, places, timing, activity)
    figures = activity.figures(network)

    features = np.concatenate([traces[:-1], x[:-1]], axis=1)
    parts = [slice(washout, learn - 1), slice(learn - 1, choose - 1), slice(choose - 1, None)]
    (X, Y), held, (test, truth) = ((features[part], x[1:][part]) for part in parts)
    readout = fit_ridge(X, Y, held_out=held)
    figures["nrmse"] = nrmse(readout(test), truth)
    figures["validation"] = nrmse(readout(held[0]), held[1])
    figures["persistence"] = nrmse(x[:-1][parts[2]], truth)
    figures["readout"] = float(readout.weights.size + x.shape[1])
    margin = BEYOND * np.ptp(training, axis=0)
    low, high = training.min(0) - margin, training.max(0) + margin
    ahead = places + np.arange(1, longest + 1)[:, None]
    return Fitted(
        Forecaster(network, readout, timing, low, high), figures, positions, x[places], x[ahead]
    )


def scaled(series: Array, training: Array) -> Array:
    """(x − μ) / σ with μ and σ of the training part.

    Raises:
        DataError: [P, V] expected, a value is no number, or a variable is constant in that part.
    """
    if series.ndim != 2:
        raise DataError(f"series: wanted [points, variables], got {series.shape}")
    if not np.isfinite(series).all():
        point = int((~np.isfinite(series)).any(1).argmax())
        raise DataError(f"series: point {point} is no number; take a part without gaps")
    deviation = training.std(0)
    if not (deviation > 1e-12 * np.abs(training).max(0)).all():
        raise DataError(
            f"series: variable {int(deviation.argmin())} is constant in the training part; leave "
            "it out"
        )
    return np.asarray((series - training.mean(0)) / deviation)


def borders(points: int, washout: int) -> tuple[int, int]:
    """Where the training part and the validation part end."""
    rest = points - washout
    if washout < 0 or rest * min(SHARES) < 10:
        raise DataError(
            f"series: {points} points are too few, of which {washout} are washed out; wanted "
            f"{washout + int(np.ceil(10 / min(SHARES)))} or more"
        )
    learn = washout + round(SHARES[0] * rest)
    return learn, learn + round(SHARES[1] * rest)


def _whole(
    network: RecurrentNetwork,
    x: Array,
    places: Array,
    timing: Timing,
    activity: Activity,
) -> tuple[Array, Position]:
    """Filtered spikes over the whole series [P, N], and where the network stands at each place."""
    position, positions, traces, begin = None, [], [], 0
    for end in [*(int(place) + 1 for place in places), len(x)]:
        if end > begin:
            part, position = present(
                network, x[begin:end, None], timing, activity=activity, position=position
            )
            traces.append(part[:, 0])
        assert position is not None
        positions.append(position)
        begin = end
    return np.concatenate(traces), Position.side_by_side(positions[:-1] or positions)


def _free(fitted: Fitted, *, threshold: float) -> Array:
    """For how many steps each of B forecasts holds [B]."""
    truth = fitted.truth
    ones = np.ones(truth.shape[2])  # the series is scaled
    predicted, lost = [], np.zeros(truth.shape[1], bool)
    free = fitted.forecaster.run_free(fitted.positions, fitted.last)
    for value, came in zip(free, truth, strict=False):
        predicted.append(value)
        lost |= errors(value, came, ones) > threshold
        if lost.all():
            break
    came = truth[: len(predicted)]
    return valid_steps(np.stack(predicted), came, deviation=ones, threshold=threshold)
