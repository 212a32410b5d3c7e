"""What noise pruning has to beat: the same budgets, without its reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError
from microglia.lyapunov.graph import Array, ends, synapses, thin


def random_synapses(weights: Any, budget: int, generator: np.random.Generator) -> sparse.csr_array:
    """W with `budget` synapses, each as likely to be kept as any other."""
    W = _budgeted(weights, budget)
    kept = np.zeros(W.nnz, bool)
    kept[generator.permutation(W.nnz)[:budget]] = True
    return thin(W, kept)


def largest_synapses(weights: Any, budget: int) -> sparse.csr_array:
    """W with the `budget` largest |w|; of equals the first."""
    W = _budgeted(weights, budget)
    kept = np.zeros(W.nnz, bool)
    kept[np.argsort(-np.abs(W.data), kind="stable")[:budget]] = True
    return thin(W, kept)


def of_each_type(
    choose: Callable[[sparse.csr_array, int], sparse.csr_array],
    weights: Any,
    budgets: tuple[int, int],
    inhibitory: Array,
) -> sparse.csr_array:
    """`choose(W, budget)` of the synapses from excitatory and from inhibitory neurons apart.

    Args:
        budgets: of the two.
        inhibitory: boolean [N].
    """
    W = synapses(weights)
    types = np.asarray(inhibitory, bool)[W.indices]
    excitation, inhibition = (
        choose(thin(W, types == kind), budget)
        for kind, budget in zip((False, True), budgets, strict=True)
    )
    return sparse.csr_array(excitation + inhibition)


def fresh_sparse(
    weights: Any,
    budget: int,
    generator: np.random.Generator,
    *,
    inhibitory: Array | None = None,
) -> sparse.csr_array:
    """A new network of `budget` synapses between any two neurons, none onto itself, with weights
    drawn from W's: from those of the same presynaptic type, where there are types [N].
    """
    W = synapses(weights)
    N = W.shape[0]
    if not 0 <= budget <= N * (N - 1) or (budget and not W.nnz):
        raise ConfigError(f"budget: wanted 0 to {N * (N - 1)} synapses, got {budget}")
    pairs = generator.choice(N * (N - 1), size=budget, replace=False, shuffle=False)
    post, pre = np.divmod(np.sort(pairs), max(1, N - 1))
    pre += pre >= post
    values = like_survivors(W, pre, generator, inhibitory=inhibitory)
    return sparse.csr_array((values, (post, pre)), shape=(N, N))


def least_active(rates: Array, count: int) -> Array:
    """The `count` neurons that fire least, sorted indices; of equals the first."""
    if not 0 <= count <= len(rates):
        raise ConfigError(f"count: wanted 0 to {len(rates)} neurons, got {count}")
    return np.sort(np.argsort(rates, kind="stable")[:count])


def no_recurrence(weights: Any) -> sparse.csr_array:
    """The same neurons without a synapse."""
    return sparse.csr_array(synapses(weights).shape, dtype=np.float64)


def like_survivors(
    weights: sparse.csr_array,
    pre: Array,
    generator: np.random.Generator,
    *,
    inhibitory: Array | None = None,
) -> Array:
    """A weight for each new synapse of the neurons `pre`, drawn from those of their type."""
    _, sources = ends(weights)
    types = np.zeros(weights.shape[0], bool) if inhibitory is None else np.asarray(inhibitory, bool)
    values = np.empty(len(pre))
    for kind in (False, True):
        new, old = types[pre] == kind, weights.data[types[sources] == kind]
        if new.any() and not len(old):
            raise ConfigError("weights: a type of neuron has no synapse left to draw weights from")
        if new.any():
            values[new] = generator.choice(old, size=int(new.sum()))
    return values


def _budgeted(weights: Any, budget: int) -> sparse.csr_array:
    W = synapses(weights)
    if not 0 <= budget <= W.nnz:
        raise ConfigError(f"budget: wanted 0 to {W.nnz} synapses, got {budget}")
    return W
