"""Controls keep their budget, and nothing else of what noise pruning does."""

from __future__ import annotations

import numpy as np
import pytest
from sparse_graphs import example

from microglia.errors import ConfigError
from microglia.lyapunov.controls import (
    fresh_sparse,
    largest_synapses,
    least_active,
    no_recurrence,
    random_synapses,
)
from microglia.lyapunov.graph import ends


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("budget", [0, 1, 137, 700])
def test_budgets_are_exact(seed: int, budget: int) -> None:
    net = example(80, 10, seed=seed)
    rng = np.random.default_rng(seed)
    dense = net.weights.toarray()
    thinned = [random_synapses(net.weights, budget, rng), largest_synapses(net.weights, budget)]
    for small in thinned:
        there = small.toarray() != 0
        assert small.nnz == there.sum() == budget
        assert np.array_equal(small.toarray()[there], dense[there])
    sizes = np.sort(np.abs(net.weights.data))[::-1]
    assert np.array_equal(np.sort(np.abs(thinned[1].data))[::-1], sizes[:budget])
    fresh = fresh_sparse(net.weights, budget, rng, inhibitory=net.inhibitory)
    assert np.count_nonzero(fresh.toarray()) == budget
    assert not fresh.diagonal().any()
    post, pre = fresh.tocoo().coords
    assert (np.sign(fresh.toarray()[post, pre]) == np.where(net.inhibitory[pre], -1, 1)).all()
    assert np.isin(fresh.data, net.weights.data).all()


def test_random_means_evenly() -> None:
    net = example(20, 4)
    rng = np.random.default_rng(0)
    times = sum((random_synapses(net.weights, 20, rng).toarray() != 0) for _ in range(2000))
    share = times[net.weights.toarray() != 0] / 2000
    assert np.abs(share - 20 / net.weights.nnz).max() < 0.06
    pairs = sum((fresh_sparse(net.weights, 95, rng).toarray() != 0) for _ in range(2000)) / 2000
    off = ~np.eye(20, dtype=bool)
    assert np.abs(pairs[off] - 0.25).max() < 0.06
    full = fresh_sparse(net.weights, 380, rng).toarray() != 0
    assert np.array_equal(full, off)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fresh_weights_are_spread_as_those_they_are_drawn_from(seed: int) -> None:
    net = example(80, 10, seed=seed)
    rng = np.random.default_rng(seed)
    fresh = fresh_sparse(net.weights, 3000, rng, inhibitory=net.inhibitory)
    _, sources = ends(net.weights)
    for kind in (False, True):
        old = net.weights.data[net.inhibitory[sources] == kind]
        new = fresh.data[net.inhibitory[ends(fresh)[1]] == kind]
        for level in np.quantile(old, [0.1, 0.5, 0.9]):
            share = (old <= level).mean()
            assert abs((new <= level).mean() - share) < 5 * 0.5 / np.sqrt(len(new))


def test_the_rest() -> None:
    net = example(30, 4)
    assert least_active(np.array([3.0, 0.0, 2.0, 0.0]), 3).tolist() == [1, 2, 3]
    assert least_active(np.zeros(4), 2).tolist() == [0, 1]
    assert no_recurrence(net.weights).nnz == 0
    rng = np.random.default_rng(0)
    for call in (random_synapses, fresh_sparse):
        with pytest.raises(ConfigError, match="budget"):
            call(net.weights, 10_000, rng)
    with pytest.raises(ConfigError, match="budget"):
        largest_synapses(net.weights, -1)
    with pytest.raises(ConfigError, match="count"):
        least_active(np.ones(3), 4)
    only_last = np.arange(3) == 2
    with pytest.raises(ConfigError, match="type of neuron"):
        # No synapse of the one inhibitory neuron is there to take after.
        fresh_sparse(np.diag([1.0, 1.0], -1) * [1, 1, 0], 6, rng, inhibitory=only_last)
