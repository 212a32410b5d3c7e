"""Step II: which neurons lie on few paths?"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError, nearest
from microglia.lyapunov.extras import extra
from microglia.lyapunov.graph import Array, ends, for_each_neuron, synapses

Criterion = Literal["betweenness", "weighted", "sampled", "degree", "activity", "random"]


def importance(
    weights: Any,
    criterion: Criterion = "betweenness",
    *,
    sources: int = 1024,
    activity: Any = None,
    generator: np.random.Generator | None = None,
) -> Array:
    """How much each neuron is worth keeping [N].

        betweenness   C_B(u) = Σ_{s≠u≠t} σ_st(u)/σ_st, shares of directed shortest paths (Freeman,
                      1977); by Brandes' algorithm, N · E steps
        weighted      the same, a synapse being 1/|w| long
        sampled       the same from `sources` random neurons, extrapolated; fewer than a thousand
                      rank the neurons of a homogeneous graph poorly
        degree        inputs times outputs, which betweenness nearly is after step I
        activity      as given: firing rates
        random        uniform

    That neurons of low betweenness go is the paper's; paths along directed synapses of length 1,
    and all else here, are reconstructions. Removing neurons at random was not worse when measured.

    Raises:
        ConfigError: an unknown criterion, activity or a generator that is missing.
    """
    W = synapses(weights)
    N = W.shape[0]
    if criterion not in get_args(Criterion):
        raise ConfigError(
            f"criterion: '{criterion}'?{nearest(criterion, list(get_args(Criterion)))}"
        )
    if criterion in ("sampled", "random") and generator is None:
        raise ConfigError(f"generator: '{criterion}' is random; give a numpy Generator")
    if criterion == "activity":
        if activity is None:
            raise ConfigError("activity: 'activity' wants the firing rate of each neuron")
        return for_each_neuron("activity", activity, N)
    if criterion == "random":
        assert generator is not None
        return np.asarray(generator.random(N))
    if criterion == "degree":
        inputs, outputs = np.diff(W.indptr), np.bincount(W.indices, minlength=N)
        return np.asarray(inputs * outputs, dtype=np.float64)
    return _betweenness(W, criterion, sources, generator)


def least_important(
    importance: Array,
    count: int,
    *,
    inhibitory: Array | None = None,
    protected: Array | None = None,
) -> Array:
    """The `count` neurons to remove, sorted indices: the least important of each type.

    Excitatory and inhibitory neurons go in proportion to their numbers, so that their balance
    stays (a reconstruction: unstratified, betweenness nearly doubles the share of inhibition).
    Where protection leaves too few of a type, the other gives the rest. Of equals the first go.

    Args:
        importance: [N].
        inhibitory: boolean [N]; None where neurons aren't of two types.
        protected: boolean [N], as the neurons that get input.

    Raises:
        ConfigError: a count below 0, or above the number of neurons that may go.
    """
    N = len(importance)
    inhibits = np.zeros(N, bool) if inhibitory is None else np.asarray(inhibitory, bool)
    may_go = np.ones(N, bool) if protected is None else ~np.asarray(protected, bool)
    free = int(may_go.sum())
    if not 0 <= count <= free:
        raise ConfigError(
            f"count: wanted 0 to {free} neurons of {N}, the others being protected, as those with "
            f"input are; got {count}"
        )
    # Sums of paths in another order may differ in their last digits.
    unit = float(np.abs(importance).max(initial=0.0)) or 1.0
    order = np.argsort(np.round(importance / unit, 9), kind="stable")
    order = order[may_go[order]]
    e, i = order[~inhibits[order]], order[inhibits[order]]
    from_i = round(count * float(inhibits.mean())) if N else 0
    from_i = max(min(from_i, len(i)), count - len(e))
    return np.sort(np.concatenate([e[: count - from_i], i[:from_i]]))


def _betweenness(
    W: sparse.csr_array,
    criterion: Criterion,
    sources: int,
    generator: np.random.Generator | None,
) -> Array:
    nk = extra("networkit", to="betweenness")
    post, pre = ends(W)
    there = post != pre
    lengths = 1 / np.abs(W.data[there])
    triplets = (lengths, (pre[there].astype(np.uint64), post[there].astype(np.uint64)))
    weighted = criterion == "weighted"
    graph = nk.GraphFromCoo(triplets, n=W.shape[0], weighted=weighted, directed=True)
    if criterion == "sampled":
        if sources < 1:
            raise ConfigError(f"sources: wanted at least 1, got {sources}")
        assert generator is not None
        nk.engineering.setSeed(int(generator.integers(2**31)), False)
        found = nk.centrality.EstimateBetweenness(graph, sources, normalized=False)
    else:
        found = nk.centrality.Betweenness(graph, normalized=False)
    return np.asarray(found.run().scores())
