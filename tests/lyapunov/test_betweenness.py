"""Importance is what networkx finds, and exactly the wanted neurons go."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr
from sparse_graphs import example

from microglia.errors import ConfigError
from microglia.lyapunov.betweenness import importance, least_important
from microglia.lyapunov.graph import Array
from microglia.lyapunov.reach import cut_off
from microglia.lyapunov.refill import refill


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("N", "degree"), [(30, 2), (120, 6), (200, 10)])
@pytest.mark.parametrize("criterion", ["betweenness", "weighted"])
def test_betweenness_equals_networkx(seed: int, N: int, degree: int, criterion: str) -> None:
    W = example(N, degree, seed=seed).weights + sparse.diags_array(np.arange(N) % 3.0)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(N))
    for i, j, w in zip(*W.tocoo().coords, W.tocoo().data, strict=True):
        graph.add_edge(j, i, length=1 / abs(w) if w else None)
    graph.remove_edges_from([(i, j) for i, j, d in graph.edges(data=True) if d["length"] is None])
    length = "length" if criterion == "weighted" else None
    wanted = nx.betweenness_centrality(graph, normalized=False, weight=length)
    found = importance(W, criterion)  # type: ignore[arg-type]
    assert np.abs(found - [wanted[n] for n in range(N)]).max() < 1e-9


def test_paths_are_directed() -> None:
    ring = np.roll(np.eye(4), 1, axis=0)
    assert importance(ring).tolist() == [3.0] * 4
    assert importance(ring + ring.T).tolist() == [1.0] * 4


@pytest.mark.parametrize("seed", [0, 1])
def test_sampled_betweenness_comes_near_and_repeats(seed: int) -> None:
    W = example(200, 6, seed=seed).weights
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    a, b = (importance(W, "sampled", sources=150, generator=rng) for rng in rngs)
    assert np.array_equal(a, b)
    assert spearmanr(a, importance(W)).statistic > 0.9
    assert not np.array_equal(a, importance(W, "sampled", sources=150, generator=rngs[0]))


def test_the_simple_criteria() -> None:
    net = example(50, 5)
    dense = net.weights.toarray() != 0
    assert np.array_equal(importance(net.weights, "degree"), dense.sum(0) * dense.sum(1))
    assert np.array_equal(importance(net.weights, "activity", activity=net.rates), net.rates)
    one, two = (
        importance(net.weights, "random", generator=np.random.default_rng(s)) for s in (0, 1)
    )
    assert len(set(one)) == 50
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.57])
def test_neurons_go_in_proportion_and_protected_ones_stay(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    score, inhibitory, protected = rng.random(211), rng.random(211) < 0.2, rng.random(211) < 0.15
    count = round(share * 211)
    gone = least_important(score, count, inhibitory=inhibitory, protected=protected)
    assert len(set(gone)) == len(gone) == count
    assert not protected[gone].any()
    assert abs(inhibitory[gone].sum() - count * inhibitory.mean()) <= 0.5 + 1e-9
    stay = np.setdiff1d(np.arange(211), gone)
    for kind in (False, True):
        out = score[gone[inhibitory[gone] == kind]]
        left = score[stay[(inhibitory[stay] == kind) & ~protected[stay]]]
        assert out.max(initial=0) <= left.min(initial=1)
    # Without types the least important of all go.
    assert set(least_important(score, count)) == set(np.argsort(score)[:count])


def test_where_protection_leaves_too_few_of_a_type_the_other_gives_the_rest() -> None:
    inhibitory = np.arange(10) < 5
    gone = least_important(np.arange(10.0), 4, inhibitory=inhibitory, protected=inhibitory)
    assert gone.tolist() == [5, 6, 7, 8]
    gone = least_important(np.arange(10.0), 4, inhibitory=inhibitory, protected=~inhibitory)
    assert gone.tolist() == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="0 to 5 neurons of 10"):
        least_important(np.arange(10.0), 6, protected=inhibitory)


def _pruned_neurons(seed: int) -> tuple[Array, Array, Array, np.random.Generator]:
    """What step I kept, the synapses between neurons that stay, scores."""
    rng = np.random.default_rng(seed)
    scores = rng.lognormal(0, 1, 500)
    return rng.random(500) < 0.4, rng.random(500) < 0.6, scores, rng


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("budget", [0, 20, 100, 200, 250])
def test_refilling_ends_at_the_budget(seed: int, budget: int) -> None:
    kept, allowed, scores, rng = _pruned_neurons(seed)
    result = refill(kept, allowed, scores, budget, rng)
    assert result.sum() == budget
    assert not (result & ~allowed).any()
    both = kept & allowed
    assert (result <= both).all() if budget <= both.sum() else (result >= both).all()


def test_refilling_goes_by_the_scores() -> None:
    kept, allowed, scores, rng = _pruned_neurons(0)
    times = sum(refill(kept, allowed, scores, 160, rng).astype(int) for _ in range(300))
    pool = allowed & ~kept
    assert spearmanr(times[pool], scores[pool]).statistic > 0.8
    # Thinned by them, too.
    both = kept & allowed
    times = sum(refill(kept, allowed, scores, 50, rng).astype(int) for _ in range(300))
    assert spearmanr(times[both], scores[both]).statistic > 0.8
    # Scores of 0 help out last.
    scores[pool & (np.arange(500) % 2 == 0)] = 0.0
    most = int((allowed & (kept | (scores > 0))).sum())
    assert (scores[refill(kept, allowed, scores, most, rng) & pool] > 0).all()
    assert refill(kept, allowed, scores, most + 3, rng).sum() == most + 3
    with pytest.raises(ConfigError, match="synapses wanted"):
        refill(kept, allowed, scores, 400, rng)


def test_a_readout_out_of_reach_is_named_or_refused() -> None:
    W = np.zeros((5, 5))
    W[1, 0] = W[2, 1] = W[3, 4] = 1.0  # 0 → 1 → 2, 4 → 3
    first = np.arange(5) == 0
    assert cut_off(W, first).tolist() == [3, 4]
    assert cut_off(W, first, np.arange(5) == 2).tolist() == []
    assert cut_off(W, first | (np.arange(5) == 4)).tolist() == []
    for readout in ([3], [3, 4]):
        with pytest.raises(ConfigError, match="no path"):
            cut_off(W, first, np.isin(np.arange(5), readout))
    with pytest.raises(ConfigError, match="no neuron"):
        cut_off(W, np.zeros(5, bool))
    with pytest.raises(ConfigError, match="5 neurons"):
        cut_off(W, np.ones(4, bool))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_cut_off_is_what_networkx_finds_no_path_to(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = example(120, 1, seed=seed)
    inputs, readout = rng.random(120) < 0.05, rng.random(120) < 0.7
    inputs[0] = True
    graph = nx.from_scipy_sparse_array(net.weights.T, create_using=nx.DiGraph)
    reached = set(np.flatnonzero(inputs))
    for source in np.flatnonzero(inputs):
        reached |= nx.descendants(graph, source)
    lost = np.setdiff1d(np.flatnonzero(readout), list(reached))
    assert 0 < len(lost) < readout.sum()
    assert cut_off(net.weights, inputs, readout).tolist() == lost.tolist()


def test_what_cannot_be_is_refused() -> None:
    W = example(20, 3).weights
    with pytest.raises(ConfigError, match="betweenness"):
        importance(W, "betweeness")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="activity"):
        importance(W, "activity")
    with pytest.raises(ConfigError, match="generator"):
        importance(W, "random")
    with pytest.raises(ConfigError, match="sources"):
        importance(W, "sampled", sources=0, generator=np.random.default_rng(0))
