"""Covariances solve Lyapunov's equation, and approximate ones rank synapses as exact ones do."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr
from sparse_graphs import Example, example

from microglia.errors import ConfigError
from microglia.lyapunov import covariance as room
from microglia.lyapunov.covariance import Covariance, covariance, exact_covariance
from microglia.lyapunov.graph import Array, ends
from microglia.lyapunov.keep import keep_scores
from microglia.lyapunov.linearisation import linearise


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("reach", [0.3, 0.9, 2.0])
def test_the_residual_of_lyapunovs_equation(seed: int, reach: float) -> None:
    A = example(150, 15, seed=seed, reach=reach).linear.A
    C = exact_covariance(A)
    assert np.abs(A @ C + C @ A.T + np.eye(150)).max() < 1e-10
    assert np.abs(C - C.T).max() < 1e-12
    assert np.linalg.eigvalsh(C).min() > 0


def test_exact_values_stand_at_their_synapses() -> None:
    linear = example(60, 8).linear
    C = exact_covariance(linear.A)
    found = covariance(linear, method="exact")
    assert found.edges.shape == (linear.effective.nnz,)
    for e, (i, j) in enumerate(zip(*ends(linear.effective), strict=True)):
        assert found.edges[e] == C[i, j]
    assert np.array_equal(found.variance, C.diagonal())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_series_over_all_pairs_is_the_covariance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((25, 25)) * 0.05
    linear = linearise(dense, rng.random(25) + 0.2, tau_s=1.0, gains=1.0)
    exact = covariance(linear, method="exact")
    series = covariance(linear, method="series", order=60)
    assert np.allclose(series.edges, exact.edges, atol=1e-10, rtol=0)
    assert np.allclose(series.variance, exact.variance, atol=1e-10, rtol=0)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_masked_series_is_its_formula(seed: int, order: int) -> None:
    linear = example(50, 6, seed=seed).linear
    A = linear.A.toarray()
    leak = -A.diagonal()
    off = A + np.diag(leak)
    mask = (off != 0) | (off.T != 0) | np.eye(50, dtype=bool)
    term = total = np.diag(0.5 / leak)
    for _ in range(order):
        term = (off @ term + term @ off.T) * mask / (leak[:, None] + leak)
        total = total + term
    found = covariance(linear, method="series", order=order)
    assert np.allclose(found.variance, total.diagonal(), rtol=1e-12)
    assert np.allclose(found.edges, total[ends(linear.effective)], atol=1e-15, rtol=1e-10)


@pytest.mark.parametrize("reach", [0.4, 0.6])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("reading", ["MC", "R2w", "R2-ends"])
def test_the_series_ranks_synapses_as_the_exact_covariance(
    reach: float, seed: int, reading: str
) -> None:
    net = example(500, 50, seed=seed, reach=reach)
    ranks = [
        keep_scores(
            net.weights,
            net.linear,
            net.rates,
            reading=reading,  # type: ignore[arg-type]
            covariance_of=partial(covariance, method=method),
        )
        for method in ("series", "exact")
    ]
    assert spearmanr(*ranks).statistic >= 0.99


@pytest.mark.parametrize("seed", [0, 1])
def test_probes_come_near_the_exact_covariance_close_to_instability(seed: int) -> None:
    net = example(200, 20, seed=seed, reach=0.8)
    exact = covariance(net.linear, method="exact")
    found = []
    for probes in (16, 512):
        generator = np.random.default_rng(seed)
        C = covariance(net.linear, method="probes", probes=probes, generator=generator)
        found.append(C)
    errors = [np.linalg.norm(C.edges - exact.edges) for C in found]
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.3 * np.linalg.norm(exact.edges)
    assert np.abs(found[1].variance / exact.variance - 1).mean() < 0.05
    assert spearmanr(*(_scores(net, C) for C in (found[1], exact))).statistic >= 0.99


def test_probes_of_an_uncoupled_network_have_no_error() -> None:
    linear = linearise(sparse.csr_array((9, 9)), np.linspace(0.01, 0.1, 9), tau_s=1.0, gains=1.0)
    C = covariance(linear, method="probes", probes=1, generator=np.random.default_rng(0))
    assert np.allclose(C.variance, np.linspace(0.01, 0.1, 9) / 2, rtol=1e-12)


@pytest.mark.parametrize("method", ["exact", "series", "probes"])
def test_synapses_onto_oneself_are_part_of_the_leak(method: str) -> None:
    W = np.diag([0.5, 0.0, -1.0])
    W[0, 1] = 1e-9
    linear = linearise(W, [0.1, 0.2, 0.3], tau_s=1.0, gains=1.0)
    C = covariance(
        linear,
        method=method,  # type: ignore[arg-type]
        generator=np.random.default_rng(0),
    )
    assert np.allclose(C.variance, [0.1, 0.1, 0.075], rtol=1e-6)
    assert np.allclose(C.edges[[0, 2]], [0.1, 0.075], rtol=1e-6)


@pytest.mark.parametrize(
    ("N", "abscissa", "chosen"),
    [
        (1500, 0.1, "exact"),
        (1501, 0.5, "series"),
        (2000, 0.75, "exact"),
        (3001, 0.75, "probes"),
        (3001, 0.7, "series"),
    ],
)
def test_which_method_is_chosen(N: int, abscissa: float, chosen: str) -> None:
    assert room._chosen(N, abscissa) == chosen


def test_what_cannot_be_is_refused() -> None:
    linear = example(20, 3).linear
    with pytest.raises(ConfigError, match="generator"):
        covariance(linear, method="probes")
    with pytest.raises(ConfigError, match="method"):
        covariance(linear, method="guess")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="order"):
        covariance(linear, order=-1)


def _scores(net: Example, C: Covariance) -> Array:
    return keep_scores(net.weights, net.linear, net.rates, covariance_of=lambda _: C)
