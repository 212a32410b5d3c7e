"""One gain for all weights that are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.memory import memory_capacity

GRID = (0.1, 0.2, 0.35, 0.6, 1.0)
"""What is tried for α Σ|w| of the pruned network over Σ|w| of the dense one."""

Metric = Callable[[RecurrentNetwork], float]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The network whose weights were multiplied by `gain`; the metric of each gain tried."""

    network: RecurrentNetwork
    gain: float
    tried: dict[float, float]


def calibrate_gain(
    network: RecurrentNetwork,
    dense: RecurrentNetwork,
    *,
    by: str = "memory",
    grid: Sequence[float] = GRID,
    metric: Metric = memory_capacity,
) -> Calibrated:
    """Multiply all recurrent weights by one α. A step of this library's, not the paper's.

        memory      the α of the best metric, of those that make α Σ|w| a part in `grid` of the
                    dense network's Σ|w|
        deviation   Σ_j w_ij², its mean over neurons, becomes the dense network's
        none        α = 1

    Pruning changes how strongly neurons drive each other, and this gain alone moves tasks more than
    any rule of which synapses go; so networks are compared after it. The default metric needs no
    task; a metric of a task's own validation data may take its place.

    Raises:
        ConfigError: an unknown word, an empty grid, or a metric that is not a number.
    """
    size = float(np.abs(network.weights.data).sum())
    if by == "none" or size == 0:
        return Calibrated(network, 1.0, {})
    if by == "deviation":
        return _scaled(network, np.sqrt(_power(dense) / _power(network)), {})
    if by != "memory" or not len(grid):
        raise ConfigError(f"calibrate: 'memory', 'deviation' or 'none' expected, got '{by}'")
    unit = float(np.abs(dense.weights.data).sum()) / size
    tried = {unit * part: metric(_times(network, unit * part)) for part in grid}
    if not np.isfinite(list(tried.values())).all():
        raise ConfigError(f"metric: wanted a number for each gain, got {tried}")
    return _scaled(network, max(tried, key=lambda gain: tried[gain]), tried)


def _scaled(network: RecurrentNetwork, gain: float, tried: dict[float, float]) -> Calibrated:
    return Calibrated(_times(network, gain), float(gain), tried)


def _times(network: RecurrentNetwork, gain: float) -> RecurrentNetwork:
    return network.with_weights(network.weights * gain)


def _power(network: RecurrentNetwork) -> float:
    """Mean over neurons of Σ_j w_ij²."""
    return float((network.weights.data**2).sum()) / len(network)
