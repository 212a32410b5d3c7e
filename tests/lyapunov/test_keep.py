"""Scores are what their equations say, for every reading."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy import sparse
from sparse_graphs import Example, example

from microglia.errors import ConfigError
from microglia.lyapunov.covariance import exact_covariance
from microglia.lyapunov.graph import ends, synapses
from microglia.lyapunov.keep import harmonic_means, keep_scores
from microglia.lyapunov.linearisation import linearise


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("eta", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("reading", ["R2w", "R2-ends", "R2-neighbourhoods", "MC", "weight"])
def test_a_reading_is_its_equation(reading: str, eta: float, seed: int) -> None:
    net = example(60, 8, seed=seed)
    W, A = net.weights.toarray(), net.linear.A.toarray()
    C = exact_covariance(net.linear.A)
    s = keep_scores(net.weights, net.linear, net.rates, reading=reading, eta=eta)  # type: ignore[arg-type]
    graph = _undirected(net)
    for e, (i, j) in enumerate(zip(*ends(synapses(net.weights)), strict=True)):
        wanted = abs(W[i, j]) if reading in ("R2w", "weight") else abs(A[i, j])
        if reading != "weight":
            wanted *= C[i, i] + C[j, j] - 2 * np.sign(W[i, j]) * C[i, j]
        if reading.startswith("R2"):
            wanted /= _harmonic_mean(net, graph, reading, i, j) ** eta
        assert np.isclose(s[e], wanted, rtol=1e-9)


def test_in_r1_the_lyapunov_matrix_stands_in_for_the_weights() -> None:
    net = example(60, 8)
    i, j = ends(synapses(net.weights))
    graph = _undirected(net)
    L = [_harmonic_mean(net, graph, "R1", a, b) for a, b in zip(i, j, strict=True)]
    signed = sparse.csr_array((L * np.sign(net.weights.data), (i, j)), shape=(60, 60))
    linear = linearise(signed, net.tau_m, tau_s=1.0, gains=1.0)
    wanted = keep_scores(signed, linear, reading="MC")
    assert np.allclose(keep_scores(net.weights, net.linear, net.rates, reading="R1"), wanted)
    # It sees nothing of how large weights are.
    grown = net.weights.copy()
    grown.data **= 3
    other = linearise(grown, net.tau_m, tau_s=5e-3, gains=net.gains)
    assert np.allclose(keep_scores(grown, other, net.rates, reading="R1"), wanted)


@pytest.mark.parametrize("reading", ["R2w", "R2-ends", "R2-neighbourhoods", "MC"])
def test_synapses_of_silent_neurons_come_last_but_in_order(reading: str) -> None:
    net = example(80, 10)
    net.gains[::3] = 0.0
    linear = linearise(net.weights, net.tau_m, tau_s=5e-3, gains=net.gains)
    s = keep_scores(net.weights, linear, net.rates, reading=reading)  # type: ignore[arg-type]
    silent = net.gains[ends(net.weights)[1]] == 0
    assert s[silent].min() > 0
    assert s[silent].max() < 1e-3 * s[~silent].min()
    assert np.allclose(
        s[silent] / np.abs(net.weights.data[silent]),
        s[silent][0] / np.abs(net.weights.data[silent][0]),
    )


def test_a_network_that_answers_to_nothing_is_scored_by_weight() -> None:
    net = example(40, 5)
    linear = linearise(net.weights, net.tau_m, tau_s=5e-3, gains=0.0)
    s = keep_scores(net.weights, linear, net.rates)
    assert np.allclose(s / s[0], np.abs(net.weights.data / net.weights.data[0]))


@pytest.mark.parametrize("inhibition", [0.0, 1.0])
def test_neurons_of_one_type(inhibition: float) -> None:
    net = example(60, 8, inhibition=inhibition)
    s = keep_scores(net.weights, net.linear, net.rates)
    assert (s > 0).all()
    assert np.isfinite(s).all()


def test_disconnected_parts_do_not_change_each_other() -> None:
    net = example(60, 8)
    alone = keep_scores(net.weights, net.linear, net.rates)
    twice = sparse.block_diag([net.weights, np.zeros((3, 3)), net.weights]).tocsr()
    tau, gains, rates = (
        np.concatenate([v, np.ones(3), v]) for v in (net.tau_m, net.gains, net.rates)
    )
    s = keep_scores(twice, linearise(twice, tau, tau_s=5e-3, gains=gains), rates)
    assert np.allclose(s, np.concatenate([alone, alone]), rtol=1e-8)


def test_what_cannot_be_is_refused() -> None:
    net = example(30, 4)
    with pytest.raises(ConfigError, match="R2w"):
        keep_scores(net.weights, net.linear, net.rates, reading="R2")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rates"):
        keep_scores(net.weights, net.linear)
    with pytest.raises(ConfigError, match="positive"):
        keep_scores(net.weights, net.linear, net.rates - net.rates.max())
    with pytest.raises(ConfigError, match="linear"):
        keep_scores(example(30, 4, seed=1).weights, net.linear, net.rates)
    # The same columns in other rows are another network.
    one, other = (
        sparse.csr_array(([1.0, 1.0], (i, [1, 2])), shape=(3, 3)) for i in ([0, 0], [0, 1])
    )
    linear = linearise(one, 0.02, tau_s=5e-3, gains=1.0)
    keep_scores(one, linear, reading="MC")
    with pytest.raises(ConfigError, match="linear"):
        keep_scores(other, linear, reading="MC")
    with pytest.raises(ConfigError, match="over"):
        harmonic_means(net.weights, net.rates, over="all")  # type: ignore[arg-type]


def _undirected(net: Example) -> nx.Graph:
    return nx.from_scipy_sparse_array(net.weights, create_using=nx.DiGraph).to_undirected()


def _harmonic_mean(net: Example, graph: nx.Graph, reading: str, i: int, j: int) -> float:
    """Neuron by neuron, over networkx's neighbours."""
    near = [*graph.neighbors(i), *graph.neighbors(j)]
    around = [i, j] if reading in ("R2w", "R2-ends") else near
    return len(around) / sum(1 / net.rates[k] for k in around)
