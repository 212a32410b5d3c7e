"""One gain for all weights that are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.memory import memory_capacity

GRID = (0.1, 0.2, 0.35, 0.6, 1.0)
"""What is tried first for α Σ|w| of the pruned network over Σ|w| of the dense one."""
BEYOND = 10
"""How far beyond the ends of a grid is looked, as a factor."""

Metric = Callable[[RecurrentNetwork], float]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The network whose weights were multiplied by `gain`; the metric of each part of the dense
    network's Σ|w| that was tried."""

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
                    dense network's Σ|w|; where the first or last part is better than all others,
                    the grid goes on there in equal ratios, up to ten times as far
        deviation   Σ_j w_ij², its mean over neurons, becomes the dense network's
        none        α = 1

    Pruning changes how strongly neurons drive each other, and this gain alone moves tasks more than
    any rule of which synapses go; so networks are compared after it. The default metric needs no
    task; a metric of a task's own validation data may take its place.

    Raises:
        ConfigError: an unknown word, no grid of rising parts, or a metric that is not a number.
    """
    size = float(np.abs(network.weights.data).sum())
    if by == "none" or size == 0:
        return Calibrated(network, 1.0, {})
    if by == "deviation":
        return _scaled(network, np.sqrt(_power(dense) / _power(network)), {})
    if by != "memory":
        raise ConfigError(f"calibrate: 'memory', 'deviation' or 'none' expected, got '{by}'")
    if not grid or not grid[0] > 0 or not all(a < b for a, b in pairwise(grid)):
        raise ConfigError(f"grid: wanted rising parts above 0, got {tuple(grid)}")
    unit = float(np.abs(dense.weights.data).sum()) / size
    tried = {part: metric(_times(network, unit * part)) for part in grid}
    while (part := _next(tried)) and grid[0] / BEYOND <= part <= grid[-1] * BEYOND:
        tried[part] = metric(_times(network, unit * part))
    if not np.isfinite(list(tried.values())).all():
        raise ConfigError(f"metric: wanted a number for each gain, got {tried}")
    best = max(tried, key=lambda part: tried[part])
    return _scaled(network, unit * best, dict(sorted(tried.items())))


def _next(tried: dict[float, float]) -> float | None:
    """The part to be tried where an end of the grid is better than all else."""
    parts = sorted(tried)
    best = max(parts, key=lambda part: tried[part])
    if len(parts) == 1 or list(tried.values()).count(tried[best]) > 1:
        return None
    if best == parts[-1]:
        return best * best / parts[-2]
    return best * best / parts[1] if best == parts[0] else None


def _scaled(network: RecurrentNetwork, gain: float, tried: dict[float, float]) -> Calibrated:
    return Calibrated(_times(network, gain), float(gain), tried)


def _times(network: RecurrentNetwork, gain: float) -> RecurrentNetwork:
    return network.with_weights(network.weights * gain)


def _power(network: RecurrentNetwork) -> float:
    """Mean over neurons of Σ_j w_ij²."""
    return float((network.weights.data**2).sum()) / len(network)
