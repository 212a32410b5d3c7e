"""An exact number of synapses, drawn by probabilities in proportion to scores."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError
from microglia.lyapunov.graph import Array, same_synapses, synapses, thin

Rescale = Literal["none", "capped", "full"]


def water_filling(scores: Array, budget: int) -> Array:
    """p = min(1, K s) [E] with K such that Σ p = `budget`.

    Clipping at 1 and solving for K again is what makes the sum exact (noise pruning's own code
    normalises once and then clips, so that it ends below).

    Raises:
        ConfigError: a budget outside [0, E] or above the number of positive scores; scores that
            are negative or not finite.
    """
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise ConfigError("scores: wanted finite numbers, at least 0")
    positive = int(np.count_nonzero(scores))
    if budget != int(budget) or not 0 <= budget <= len(scores):
        raise ConfigError(f"budget: wanted 0 to {len(scores)} synapses, got {budget}")
    if budget > positive:
        raise ConfigError(
            f"budget: {budget} synapses wanted, but only {positive} have a score above 0"
        )
    if budget in (0, positive):
        return (scores > 0) * float(budget > 0)
    falling = np.sort(scores)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]
    certain = np.arange(budget)
    K = (budget - certain) / rest[:budget]
    # The first number of certain ones that leaves all others below 1.
    k = int(np.argmax(K * falling[:budget] <= 1))
    return np.asarray(np.minimum(1.0, K[k] * scores))


def systematic(p: Array, generator: np.random.Generator) -> Array:
    """Which synapses are drawn, boolean [E]: synapse e with probability p_e, Σ p of them exactly.

    One random number u; of the intervals that p_e lay end to end those are drawn that hold one of
    u, u + 1, u + 2, ... Along any run of synapses, as the inputs of a neuron, the number drawn is
    therefore less than 1 from its mean.

    Raises:
        ConfigError: probabilities outside [0, 1], or whose sum is not a whole number.
    """
    total = float(p.sum())
    count = round(total)
    if not ((p >= 0) & (p <= 1)).all() or abs(total - count) > 1e-6 * max(1, count):
        raise ConfigError(f"p: wanted probabilities with a whole sum, got a sum of {total}")
    certain = p >= 1 - 1e-9
    kept = certain.copy()
    open_ = np.flatnonzero(~certain & (p > 0))
    left = count - int(certain.sum())
    if left > 0:
        reach = np.cumsum(p[open_])
        # Rounding must not cost the last one.
        reach *= left / reach[-1]
        marks = generator.random() + np.arange(left)
        kept[open_[np.searchsorted(reach, marks, side="right")]] = True
    return kept


def pruned(weights: Any, p: Array, kept: Array, *, rescale: Rescale = "none") -> sparse.csr_array:
    """The synapses that are kept, times their `growth`."""
    W = synapses(weights)
    if p.shape != W.data.shape or kept.shape != W.data.shape:
        raise ConfigError(f"p, kept: wanted a value for each of {W.nnz} synapses, got {p.shape}")
    return thin(same_synapses(W, W.data * growth(p, kept, rescale=rescale)), kept)


def growth(p: Array, kept: Array, *, rescale: Rescale) -> Array:
    """What each synapse is multiplied by [E], 0 where it goes; where it stays:

        none     1
        full     1/p; the mean over draws is then W
        capped   1/p, but no more than 0.9 of the kept ones ask for

    Dividing by p is noise pruning's; that spiking networks do better without was measured.
    """
    if rescale not in get_args(Rescale):
        raise ConfigError(f"rescale: 'none', 'capped' or 'full' expected, got {rescale!r}")
    times = np.zeros(len(p))
    times[kept] = 1.0 if rescale == "none" else 1 / p[kept]
    if rescale == "capped" and kept.any():
        times = np.minimum(times, np.quantile(times[kept], 0.9))
    return times
