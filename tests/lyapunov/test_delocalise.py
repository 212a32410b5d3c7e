"""Added synapses close two-paths, and never localise or destabilise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sparse_graphs import Example, example

from microglia.errors import ConfigError
from microglia.lyapunov.abscissa import spectral_abscissa
from microglia.lyapunov.delocalise import (
    _heterogeneity_gain,
    _two_paths,
    delocalise,
    leading_ipr,
    participation,
)
from microglia.lyapunov.graph import ends, same_synapses


def effective(net: Example, W: sparse.csr_array, tau_s: Any = 5e-3) -> sparse.csr_array:
    post, pre = ends(W)
    return same_synapses(W, W.data * np.broadcast_to(tau_s, W.shape[0])[post] * net.gains[pre])


def run(net: Example, seed: int = 0, **settings: Any) -> Any:
    rng = np.random.default_rng(seed)
    return delocalise(
        net.weights,
        gains=net.gains,
        generator=rng,
        inhibitory=net.inhibitory,
        **{"tau_s": 5e-3} | settings,
    )


@pytest.mark.parametrize("N", [1, 10, 300])
def test_the_participation_ratio_of_known_vectors(N: int) -> None:
    spread, one = np.exp(1j * np.arange(N)), 3 * np.eye(N)[:, 0]
    assert np.allclose(participation(np.stack([spread, one], 1)), [1 / N, 1])


def test_a_planted_loop_is_found_localised() -> None:
    net = example(300, 30, reach=0.4)
    even = leading_ipr(effective(net, net.weights), count=2)
    loop = sparse.coo_array(([1.0, 1.0], ([0, 1], [1, 0])), shape=(300, 300))
    local = leading_ipr((effective(net, net.weights) + 3 * loop).tocsr(), count=2)
    assert 300 * even < 30
    assert local > 0.4
    assert leading_ipr(sparse.csr_array((20, 20))) == 0.0


@pytest.mark.parametrize("N", [520, 700])
def test_large_matrices_have_the_same_leading_vectors(N: int) -> None:
    net = example(N, 10)
    matrix = effective(net, net.weights)
    values, vectors = np.linalg.eig(matrix.toarray())
    leading = vectors[:, np.argsort(-np.abs(values))[:1]]
    assert np.isclose(leading_ipr(matrix, count=1), participation(leading)[0], rtol=0.02)


@pytest.mark.parametrize("candidates", ["two-paths", "heterogeneity"])
@pytest.mark.parametrize("seed", [0, 1])
def test_candidates_are_two_synapses_apart(candidates: str, seed: int) -> None:
    W = example(150, 4, seed=seed).weights
    there = W.toarray() != 0
    rng = np.random.default_rng(seed)
    i, j = _two_paths(W, 40, candidates, rng)  # type: ignore[arg-type]
    assert len(i) == len(set(zip(i, j, strict=True))) == 40
    assert (i != j).all()
    assert not there[i, j].any()
    assert (there.astype(int) @ there.astype(int))[i, j].all()


def test_heterogeneity_is_what_it_says() -> None:
    W = example(40, 4).weights
    B = (W.toarray() != 0).astype(float)
    B = B + B.T

    def total(B: np.ndarray) -> float:
        k = B.sum(0)
        return float((B * (k[:, None] - k) ** 2).sum() / 2)

    i, j = _two_paths(W, 25, "two-paths", np.random.default_rng(0))
    gains = _heterogeneity_gain(W, i, j)
    for a, b, gain in zip(i, j, gains, strict=True):
        more = B.copy()
        more[a, b] += 1
        more[b, a] += 1
        assert np.isclose(total(more) - total(B), gain)
    rng = np.random.default_rng(1)
    i, j = _two_paths(W, 10, "heterogeneity", rng)
    assert _heterogeneity_gain(W, i, j).mean() > gains.mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("candidates", ["two-paths", "heterogeneity"])
def test_what_is_accepted_neither_localises_nor_destabilises(seed: int, candidates: str) -> None:
    net = example(150, 5, seed=seed, reach=0.7)
    done = run(net, seed, mode="always", fraction=0.2, candidates=candidates)
    assert 0 < done.added <= done.wanted == round(0.2 * net.weights.nnz)
    assert done.weights.nnz == net.weights.nnz + done.added
    assert done.after <= done.before
    assert np.isclose(done.after, 150 * leading_ipr(effective(net, done.weights)))
    assert spectral_abscissa(effective(net, done.weights)) <= 0.9
    # What was there is there, and what is new has the sign and size of its neuron's type.
    old = net.weights.toarray()
    new = done.weights.toarray()
    assert np.array_equal(new[old != 0], old[old != 0])
    i, j = np.nonzero((new != 0) & (old == 0))
    for kind in (False, True):
        known = net.weights.data[net.inhibitory[ends(net.weights)[1]] == kind]
        assert np.isin(new[i, j][net.inhibitory[j] == kind], known).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_each_neuron_receives_with_its_own_time_constant(seed: int) -> None:
    net = example(120, 6, seed=seed, reach=0.3)
    tau_s = 5e-3 * np.random.default_rng(seed).lognormal(0, 1, 120)
    done = run(net, seed, mode="always", fraction=0.1, tau_s=tau_s)
    assert np.isclose(done.before, 120 * leading_ipr(effective(net, net.weights, tau_s)))
    assert np.isclose(done.after, 120 * leading_ipr(effective(net, done.weights, tau_s)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("reach", [0.4, 0.86, 1.3])
def test_excitation_is_added_up_to_0_9_and_no_further(seed: int, reach: float) -> None:
    """Where all neurons excite, each synapse more moves the rightmost eigenvalue to the right."""
    net = example(80, 8, seed=seed, reach=reach, inhibition=0.0)
    done = run(net, seed, mode="always", fraction=0.6)
    after = spectral_abscissa(effective(net, done.weights))
    assert after <= max(reach, 0.9) * (1 + 1e-9)
    if reach == 0.4:
        assert done.added > 0
        assert after > reach + 1e-3


def test_candidates_are_drawn_evenly() -> None:
    W = example(150, 4).weights
    i, j = np.concatenate(
        [_two_paths(W, 60, "two-paths", np.random.default_rng(seed)) for seed in range(10)], axis=1
    )
    for neurons in (i, j):
        assert 60 < neurons.mean() < 90


def test_repair_begins_where_the_mean_ratio_is_above_the_bar() -> None:
    net = example(200, 40)
    ratio = 200 * leading_ipr(effective(net, net.weights))
    assert run(net, mode="repair", localised=1.01 * ratio).added == 0
    assert run(net, mode="repair", localised=0.99 * ratio).added > 0


def test_modes() -> None:
    net = example(200, 40)
    off = run(net)
    assert (off.added, off.before, off.weights.nnz) == (0, None, net.weights.nnz)
    even = run(net, mode="repair", localised=1e9)
    assert even.added == 0
    assert even.before == even.after > 1
    assert run(net, mode="repair", localised=0.0).added > 0


@pytest.mark.parametrize("weights", [np.zeros((8, 8)), np.triu(np.ones((8, 8)), 1)])
def test_networks_without_a_loop_pass(weights: np.ndarray) -> None:
    done = delocalise(
        weights, tau_s=1.0, gains=1.0, generator=np.random.default_rng(0), mode="always"
    )
    assert done.weights.nnz == np.count_nonzero(weights)


@pytest.mark.parametrize(
    "setting", [{"mode": "on"}, {"candidates": "all"}, {"fraction": 2.0}, {"batches": 0}]
)
def test_what_cannot_be_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="delocalise"):
        run(example(20, 3), **setting)
