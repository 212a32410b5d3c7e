"""An exact number of synapses, drawn by probabilities in proportion to scores."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError
from microglia.lyapunov.graph import Array, synapses, thin

Rescale = Literal["none", "capped", "full"]
Leak = Literal["kept", "matched"]


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
    """The synapses that are kept, by what they are divided: "none" not at all, "full" by p (the
    mean over draws is then W), "capped" by p, but grown no more than 0.9 of the kept ones ask for.

    Dividing by p is noise pruning's; that spiking networks do better without was measured.
    """
    W = synapses(weights)
    if p.shape != W.data.shape or kept.shape != W.data.shape:
        raise ConfigError(f"p, kept: wanted a value for each of {W.nnz} synapses, got {p.shape}")
    small = thin(W, kept)
    if rescale == "none" or not small.nnz:
        return small
    if rescale not in ("capped", "full"):
        raise ConfigError(f"rescale: 'none', 'capped' or 'full' expected, got {rescale!r}")
    growth = 1 / p[kept]
    if rescale == "capped":
        growth = np.minimum(growth, np.quantile(growth, 0.9))
    small.data *= growth
    return small


def with_leak(before: sparse.csr_array, after: sparse.csr_array, leak: Leak) -> sparse.csr_array:
    """The pruned linear system A' with its diagonal: that of A, "kept", or "matched".

        matched   A'_ii = A_ii − (Σ_{j≠i} |A'_ij| − Σ_{j≠i} |A_ij|)

    Matched is noise pruning's, and what its theorem wants; in a network whose weights aren't
    symmetric it takes leak away where little was kept, and may leave A' unstable.

    Args:
        before: A [N, N], 1/s.
        after: A' [N, N], whose own diagonal is not looked at.
    """
    diagonal = before.diagonal()
    if leak == "matched":
        diagonal = diagonal - (_strength(after) - _strength(before))
    elif leak != "kept":
        raise ConfigError(f"leak: 'kept' or 'matched' expected, got {leak!r}")
    system = sparse.csr_array(after, copy=True)
    return (system + sparse.diags_array(diagonal - after.diagonal())).tocsr()


def _strength(A: sparse.csr_array) -> Array:
    """Σ_{j≠i} |A_ij| [N]."""
    return np.asarray(abs(A).sum(axis=1) - abs(A.diagonal()))
