"""The linear network of a spiking one is stable, and says what was done for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sparse_graphs import example, random_weights

from microglia.errors import ConfigError
from microglia.lyapunov.abscissa import numerical_abscissa, spectral_abscissa
from microglia.lyapunov.graph import synapses
from microglia.lyapunov.linearisation import linearise


@pytest.mark.parametrize("seed", [0, 1])
def test_the_matrix_is_the_equation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W, _ = random_weights(30, 5, rng)
    W = W + sparse.diags_array([0.0, 0.4] * 15)
    tau_m, tau_s, g = rng.random((3, 30)) + 0.1
    linear = linearise(W, tau_m, tau_s=tau_s, gains=g)
    dense = W.toarray()
    effective = np.array([[dense[i, j] * tau_s[i] * g[j] for j in range(30)] for i in range(30)])
    assert np.allclose(linear.effective.toarray(), effective)
    assert np.isclose(linear.abscissa, np.linalg.eigvals(effective).real.max())
    wanted = (linear.scale * effective - np.eye(30)) / tau_m[:, None]
    assert np.allclose(linear.A.toarray(), wanted)


@pytest.mark.parametrize("reach", [0.3, 0.79, 0.9, 3.0])
def test_an_unstable_network_is_scaled_and_says_by_how_much(reach: float) -> None:
    net = example(120, 15, reach=reach)
    linear = net.linear
    assert np.isclose(linear.scale, min(1.0, 0.8 / reach) if reach > 0.8 else 1.0)
    assert np.linalg.eigvals(linear.A.toarray()).real.max() < 0
    assert ("scaled by" in str(linear)) == (reach > 0.8)
    assert reach <= 0.8 or f"{0.8 / reach:.3g}" in str(linear)


def test_unequal_time_constants_can_make_a_stable_coupling_unstable() -> None:
    # Two neurons excite each other by more than their leak; the third holds them, if in time.
    W = np.array([[0.0, 1.5, -2.0], [1.5, 0.0, -2.0], [2.0, 2.0, 0.0]])
    assert linearise(W, 1.0, tau_s=1.0, gains=1.0).scale == 1.0
    linear = linearise(W, [1e-3, 1e-3, 1.0], tau_s=1.0, gains=1.0)
    assert np.isclose(linear.abscissa, 0.75)
    assert np.isclose(linear.scale, 0.64)
    assert np.linalg.eigvals(linear.A.toarray()).real.max() < 0
    assert "scaled by 0.64" in str(linear)


@pytest.mark.parametrize("N", [60, 620])
@pytest.mark.parametrize("seed", [0, 1])
def test_abscissa_of_small_large_and_disconnected_matrices(N: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, _ = random_weights(N, 8, rng)
    two, _ = random_weights(40, 5, rng)
    chain = sparse.csr_array(np.triu(rng.random((20, 20)), 1))
    both = sparse.block_diag([chain, one, 1.5 * two, chain]).tolil()
    both[0, N + 5] = 7.0
    exact = np.linalg.eigvals(both.toarray()).real.max()
    assert np.isclose(spectral_abscissa(sparse.csr_array(both)), exact, rtol=1e-2)
    assert numerical_abscissa(sparse.csr_array(both)) >= exact
    symmetric = np.linalg.eigvalsh((both + both.T).toarray() / 2)[-1]
    assert np.isclose(numerical_abscissa(sparse.csr_array(both)), symmetric, rtol=1e-3)


def test_no_recurrence_and_feedforward_chains_have_abscissa_zero() -> None:
    empty = sparse.csr_array((700, 700))
    assert spectral_abscissa(empty) == numerical_abscissa(empty) == 0.0
    assert spectral_abscissa(sparse.diags_array(np.ones(699), offsets=1).tocsr()) == 0.0
    assert linearise(empty, 0.02, tau_s=5e-3, gains=1.0).scale == 1.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": np.ones((3, 4))}, "square"),
        ({"weights": np.full((3, 3), np.nan)}, "finite"),
        ({"tau_m": [0.1, 0.0, 0.1]}, "tau_m"),
        ({"tau_m": [0.1, 0.1]}, "tau_m"),
        ({"tau_s": -1.0}, "tau_s"),
        ({"gains": [1.0, -1.0, 0.0]}, "gains"),
        ({"gains": np.inf}, "gains"),
        ({"bound": 1.0}, "bound"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], named: str) -> None:
    given = {"weights": np.ones((3, 3)), "tau_m": 0.1, "tau_s": 0.1, "gains": 1.0} | change
    with pytest.raises(ConfigError, match=named):
        linearise(given.pop("weights"), given.pop("tau_m"), **given)  # type: ignore[arg-type]


def test_a_synapse_is_there_once() -> None:
    parts = ([1.0, 2.0, 5.0, -5.0, 0.0], ([0, 0, 1, 1, 2], [1, 1, 2, 2, 0]))
    W = synapses(sparse.coo_array(parts, shape=(3, 3)))
    assert W.nnz == 1
    assert W[0, 1] == 3.0
