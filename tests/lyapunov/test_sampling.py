"""Budgets are exact, draws unbiased, and pruned linear networks stable and faithful."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sparse_graphs import example

from microglia.errors import ConfigError
from microglia.lyapunov.abscissa import spectral_abscissa
from microglia.lyapunov.covariance import exact_covariance
from microglia.lyapunov.graph import ends, same_synapses
from microglia.lyapunov.keep import keep_scores
from microglia.lyapunov.leak import with_leak
from microglia.lyapunov.linearisation import linearise
from microglia.lyapunov.sampling import pruned, systematic, water_filling


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_probabilities_sum_to_the_budget_and_exactly_so_many_are_drawn(
    seed: int, share: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.lognormal(0, spread, size=3001)
    M = round(share * 3001)
    p = water_filling(scores, M)
    assert abs(p.sum() - M) < 1e-6
    assert p.min(initial=1) >= 0
    assert p.max() <= 1
    assert systematic(p, rng).sum() == M
    # In proportion to the scores wherever the sum leaves room.
    open_ = p < 1
    if M > 0 and open_.any():
        K = (p / scores)[open_]
        assert np.allclose(K, K[0])
        assert (K[0] * scores[~open_] >= 1 - 1e-9).all()


def test_draws_follow_the_probabilities_and_full_rescaling_is_unbiased() -> None:
    net = example(40, 5)
    rng = np.random.default_rng(0)
    scores = keep_scores(net.weights, net.linear, net.rates)
    p = water_filling(scores, net.weights.nnz // 3)
    draws = 4000
    total = np.zeros((40, 40))
    times = np.zeros(net.weights.nnz)
    for _ in range(draws):
        kept = systematic(p, rng)
        times += kept
        total += pruned(net.weights, p, kept, rescale="full").toarray()
    assert np.abs(times / draws - p).max() < 5 * 0.5 / np.sqrt(draws)
    post, pre = ends(net.weights)
    error = np.abs(net.weights.data) * np.sqrt((1 - p) / p / draws)
    difference = np.abs(total[post, pre] / draws - net.weights.data)
    assert (difference <= 5 * error + 1e-9).all()


def test_nearly_certain_synapses_are_not_certain() -> None:
    p = np.repeat([0.95, 0.05], 20)
    rng = np.random.default_rng(0)
    times = np.mean([systematic(p, rng) for _ in range(2000)], axis=0)
    assert np.abs(times - p).max() < 5 * np.sqrt(0.05 * 0.95 / 2000)


def test_rounding_does_not_cost_the_last_one() -> None:
    """Ten tenths add up to less than 1."""

    class Latest(np.random.Generator):
        def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
            return float(np.nextafter(1, 0))

    kept = systematic(np.full(10, 0.1), Latest(np.random.PCG64(0)))
    assert np.flatnonzero(kept).tolist() == [9]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_neuron_keeps_its_mean_number_of_inputs(seed: int) -> None:
    net = example(100, 12, seed=seed)
    p = water_filling(np.abs(net.weights.data), net.weights.nnz // 4)
    kept = systematic(p, np.random.default_rng(seed))
    post, _ = ends(net.weights)
    mean, drawn = np.bincount(post, p), np.bincount(post, kept)
    # Certain ones are drawn beside the others, so that both have whole numbers of their own.
    assert np.abs(drawn - mean).max() < 1 + 1e-6


@pytest.mark.parametrize("rescale", ["none", "capped", "full"])
@pytest.mark.parametrize("seed", [0, 1])
def test_removed_and_kept_synapses_of_each_neuron_are_the_graph(rescale: str, seed: int) -> None:
    net = example(80, 10, seed=seed)
    p = water_filling(keep_scores(net.weights, net.linear, net.rates), net.weights.nnz // 5)
    kept = systematic(p, np.random.default_rng(seed))
    small = pruned(net.weights, p, kept, rescale=rescale)  # type: ignore[arg-type]
    post, pre = ends(net.weights)
    for side, axis in ((post, 1), (pre, 0)):
        before = np.bincount(side, minlength=80)
        removed = np.bincount(side[~kept], minlength=80)
        assert np.array_equal(before - removed, (small.toarray() != 0).sum(axis))
    growth = small.data / net.weights.data[kept]
    assert small.nnz == net.weights.nnz // 5
    wanted = {"none": np.ones(small.nnz), "full": 1 / p[kept]}
    wanted["capped"] = np.minimum(wanted["full"], np.quantile(wanted["full"], 0.9))
    assert np.allclose(growth, wanted[rescale])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("error", [0.5, 1.0])
def test_noise_prunings_theorem(seed: int, error: float) -> None:
    """(1 − ε) xᵀAx ≤ xᵀA'x ≤ (1 + ε) xᵀAx in size, with K = 8 ln N / ε² for unit noise."""
    rng = np.random.default_rng(seed)
    N = 300
    W = np.triu(rng.normal(1, 1, (N, N)) * (rng.random((N, N)) < 0.6), 1)
    W = W + W.T
    A = sparse.csr_array(W - np.diag(np.abs(W).sum(0) + 0.02))
    C = exact_covariance(A)
    i, j = np.nonzero(np.triu(W, 1))
    s = np.abs(W[i, j]) * (C[i, i] + C[j, j] - 2 * np.sign(W[i, j]) * C[i, j])
    p = np.minimum(1.0, 8 * np.log(N) / error**2 * s)
    p = water_filling(s, int(np.ceil(p.sum())))
    kept = systematic(p, rng)
    assert kept.mean() < (0.8 if error == 0.5 else 0.35)
    half = sparse.csr_array((W[i, j][kept] / p[kept], (i[kept], j[kept])), shape=(N, N))
    after = with_leak(A, half + half.T, "matched").toarray()
    # What a row's leak has more than its synapses is as before.
    excess = -after.diagonal() - (np.abs(after).sum(1) - np.abs(after.diagonal()))
    assert np.allclose(excess, 0.02)
    # Generalised eigenvalues are the extremes of xᵀA'x / xᵀAx.
    root = np.linalg.cholesky(-A.toarray())
    ratios = np.linalg.eigvalsh(np.linalg.solve(root, np.linalg.solve(root, -after).T))
    assert 1 - error <= ratios.min()
    assert ratios.max() <= 1 + error
    left_out = with_leak(A, half + half.T, "kept").toarray()
    assert np.array_equal(left_out.diagonal(), A.diagonal())


def lost(share: float, seed: int, *, by_noise: bool) -> float:
    """The part of the covariance that changes when synapses go by noise pruning, or at random."""
    net = example(300, 50, seed=seed, reach=0.4)
    C, E = exact_covariance(net.linear.A), net.weights.nnz
    scores = np.ones(E)
    if by_noise:
        scores = keep_scores(net.weights, net.linear, reading="MC")
    p = water_filling(scores, round(share * E))
    kept = systematic(p, np.random.default_rng(seed))
    small = pruned(net.linear.effective, p, kept, rescale="full")
    after = with_leak(net.linear.A, sparse.diags_array(1 / net.tau_m) @ small, "kept")
    return float(np.linalg.norm(exact_covariance(after) - C) / np.linalg.norm(C))


@pytest.mark.parametrize(("share", "bar"), [(0.5, 0.10), (0.2, 0.35)])
def test_noise_pruning_keeps_the_linear_covariance(share: float, bar: float) -> None:
    """In the mean of five networks; each better than random synapses by far."""
    found = [lost(share, seed, by_noise=True) for seed in range(5)]
    assert np.mean(found) <= bar
    for seed, mine in enumerate(found):
        assert mine <= 0.3 * lost(share, seed, by_noise=False)


@pytest.mark.parametrize("reading", ["R2w", "R2-ends", "R2-neighbourhoods", "R1", "MC", "weight"])
@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("reach", [0.4, 0.8, 2.0])
def test_pruned_by_default_the_linear_network_stays_stable(
    reading: str, share: float, seed: int, reach: float
) -> None:
    net = example(150, 20, seed=seed, reach=reach)
    s = keep_scores(net.weights, net.linear, net.rates, reading=reading)  # type: ignore[arg-type]
    p = water_filling(s, round(share * net.weights.nnz))
    kept = systematic(p, np.random.default_rng(seed))
    small = pruned(net.weights, p, kept)
    A = linearise(small, net.tau_m, tau_s=5e-3, gains=net.linear.scale * net.gains)
    assert A.scale == 1.0
    before = same_synapses(net.weights, np.where(kept, net.linear.entries, 0.0))
    after = with_leak(net.linear.A, before, "kept")
    assert np.allclose(after.toarray(), A.A.toarray())
    assert spectral_abscissa(after) < 0


def test_a_matched_diagonal_can_cost_stability() -> None:
    """Why the leak is kept by default."""
    net = example(150, 20, reach=0.8)
    p = water_filling(np.ones(net.weights.nnz), net.weights.nnz // 5)
    kept = systematic(p, np.random.default_rng(0))
    entries = pruned(same_synapses(net.weights, net.linear.entries), p, kept, rescale="full")
    assert spectral_abscissa(with_leak(net.linear.A, entries, "matched")) > 0


def test_what_cannot_be_is_refused() -> None:
    s = np.array([1.0, 2.0, 0.0])
    for budget in (-1, 4, 1.5):
        with pytest.raises(ConfigError, match="budget"):
            water_filling(s, budget)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="only 2"):
        water_filling(s, 3)
    with pytest.raises(ConfigError, match="scores"):
        water_filling(-s, 1)
    with pytest.raises(ConfigError, match="scores"):
        water_filling(s * np.nan, 1)
    rng = np.random.default_rng(0)
    for p in ([0.5, 0.7], [1.5, 0.5], [-0.5, 0.5]):
        with pytest.raises(ConfigError, match="p:"):
            systematic(np.array(p), rng)
    W = sparse.csr_array(np.eye(3))
    with pytest.raises(ConfigError, match="3 synapses"):
        pruned(W, np.ones(2), np.ones(2, bool))
    with pytest.raises(ConfigError, match="rescale"):
        pruned(W, np.ones(3), np.ones(3, bool), rescale="half")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leak"):
        with_leak(W, W, "half")  # type: ignore[arg-type]
