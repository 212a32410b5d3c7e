"""Neurons went, and synapses with them: back to an exact number of synapses."""

from __future__ import annotations

import numpy as np

from microglia.errors import ConfigError
from microglia.lyapunov.graph import Array
from microglia.lyapunov.sampling import systematic, water_filling


def refill(
    kept: Array, allowed: Array, scores: Array, budget: int, generator: np.random.Generator
) -> Array:
    """Which synapses stay, boolean [E]: `budget` of them, of those that are `allowed`.

    Too many are thinned, too few filled up with dropped ones, each drawn by the scores as step I
    does. (A reconstruction.)

    Args:
        kept: what step I kept, boolean [E].
        allowed: synapses whose two neurons are still there, boolean [E].
        scores: step I's, [E].

    Raises:
        ConfigError: more synapses wanted than are allowed.
    """
    if not 0 <= budget <= int(allowed.sum()):
        raise ConfigError(
            f"budget: {budget} synapses wanted, but the neurons that stay have only "
            f"{int(allowed.sum())} between them; remove more synapses or fewer neurons"
        )
    stay = kept & allowed
    missing = budget - int(stay.sum())
    pool = np.flatnonzero(allowed & ~kept if missing > 0 else stay)
    drawn = pool[_draw(scores[pool], missing if missing > 0 else budget, generator)]
    result = stay.copy() if missing > 0 else np.zeros_like(stay)
    result[drawn] = True
    return result


def _draw(scores: Array, count: int, generator: np.random.Generator) -> Array:
    """`count` of them; where scores of 0 must help out, those with a score first."""
    positive = scores > 0
    if count >= int(positive.sum()):
        scores = np.where(positive, 1.0, 1e-12)
    return systematic(water_filling(scores, count), generator)
