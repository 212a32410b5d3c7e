"""One gain for all weights: the best of a grid, which goes on where its end is best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import calibrate_gain
from microglia.networks import HRSNNConfig, SmallWorld

GRID = (0.1, 0.2, 0.5, 1.0)


def networks(seed: int) -> tuple[RecurrentNetwork, RecurrentNetwork]:
    """A sparse network and its dense one."""
    dense = HRSNNConfig(neurons=60, wiring=SmallWorld(neighbours=12), weight=0.2).draw(seed)
    return dense.with_weights(dense.weights.multiply(dense.weights > 0.1)), dense


def part_of(dense: RecurrentNetwork) -> Callable[[RecurrentNetwork], float]:
    size = np.abs(dense.weights.data).sum()
    return lambda network: float(np.abs(network.weights.data).sum() / size)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("best", "found"), [(0.21, 0.2), (0.6, 0.5), (1.9, 2.0), (3.9, 4.0), (0.03, 0.025)]
)
def test_the_best_gain_lies_between_worse_ones(best: float, found: float, seed: int) -> None:
    sparse, dense = networks(seed)
    part = part_of(dense)
    got = calibrate_gain(
        sparse, dense, grid=GRID, metric=lambda net: -abs(np.log(part(net) / best))
    )
    assert part(got.network) == pytest.approx(found)
    assert np.allclose(got.network.weights.data, got.gain * sparse.weights.data)
    parts = list(got.tried)
    assert parts == sorted(parts)
    at = int(np.argmin(np.abs(np.array(parts) - found)))
    assert got.tried[parts[at]] > max(got.tried[parts[at - 1]], got.tried[parts[at + 1]])
    assert set(GRID) <= set(parts)


def test_a_metric_without_a_best_gain_ends_ten_times_beyond_the_grid() -> None:
    sparse, dense = networks(0)
    part = part_of(dense)
    assert max(calibrate_gain(sparse, dense, grid=GRID, metric=part).tried) == 8.0
    low = calibrate_gain(sparse, dense, grid=GRID, metric=lambda net: -part(net))
    assert min(low.tried) == pytest.approx(0.0125)
    flat = calibrate_gain(sparse, dense, grid=GRID, metric=lambda net: 1.0)
    assert list(flat.tried) == list(GRID), "nothing is better there"
    assert list(calibrate_gain(sparse, dense, grid=(0.4,), metric=part).tried) == [0.4]


def test_without_a_metric() -> None:
    sparse, dense = networks(1)
    assert calibrate_gain(sparse, dense, by="none").gain == 1
    assert calibrate_gain(sparse.with_weights(sparse.weights * 0), dense, metric=len).gain == 1
    even = calibrate_gain(sparse, dense, by="deviation").network
    assert (even.weights.data**2).sum() == pytest.approx((dense.weights.data**2).sum())


@pytest.mark.parametrize("grid", [(), (0.0, 1.0), (1.0, 0.5), (0.5, 0.5)])
def test_grids_that_do_not_rise_are_refused(grid: tuple[float, ...]) -> None:
    sparse, dense = networks(0)
    with pytest.raises(ConfigError, match="rising parts above 0"):
        calibrate_gain(sparse, dense, grid=grid, metric=len)


def test_other_metrics_and_words_are_refused() -> None:
    sparse, dense = networks(0)
    with pytest.raises(ConfigError, match="a number for each gain"):
        calibrate_gain(sparse, dense, metric=lambda net: float("nan"))
    with pytest.raises(ConfigError, match="'loudness'"):
        calibrate_gain(sparse, dense, by="loudness")
