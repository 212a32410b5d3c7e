"""The steps on networks that are odd, or can't be pruned: an exact budget or a clear error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import LNPConfig, Pruned, prune_recurrent
from microglia.networks import HRSNNConfig, SmallWorld

N, K = 80, 16


def network(seed: int = 0, **settings: Any) -> RecurrentNetwork:
    wiring = SmallWorld(neighbours=K)
    return HRSNNConfig(neurons=N, wiring=wiring, **{"weight": 0.2} | settings).draw(seed)


def pruned(net: RecurrentNetwork, **settings: Any) -> Pruned:
    return prune_recurrent(net, LNPConfig(**{"calibrate": "deviation"} | settings))


def halves(net: RecurrentNetwork) -> RecurrentNetwork:
    """Without a synapse from one half of the neurons to the other, and one neuron all alone."""
    W = net.weights.tocoo()
    together = ((W.row < N // 2) == (W.col < N // 2)) & (W.row > 0) & (W.col > 0)
    kept = (W.data[together], (W.row[together], W.col[together]))
    return net.with_weights(sparse.csr_array(kept, shape=(N, N)))


ODD = {
    "disconnected": halves,
    "all excitatory": lambda net: replace(
        net, weights=abs(net.weights), inhibitory=np.zeros(N, bool)
    ),
    "no types": lambda net: replace(net, inhibitory=None),
    "all inhibitory": lambda net: replace(
        net, weights=-abs(net.weights), inhibitory=np.ones(N, bool)
    ),
    "no input": lambda net: replace(net, inputs=None, bias=np.full(N, 1.5)),
    "all with input": lambda net: replace(net, inputs=sparse.csr_array(np.ones((N, 4)))),
    "a zero stored": lambda net: net.with_weights(
        sparse.csr_array(
            (np.r_[0.0, net.weights.data[1:]], net.weights.indices, net.weights.indptr)
        )
    ),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("neurons", [0.0, 0.25])
def test_odd_networks_keep_their_budget(kind: str, neurons: float) -> None:
    net = ODD[kind](network())
    E = int(np.count_nonzero(net.weights.data))
    last = pruned(net, sparsity=0.7, neurons=neurons)
    assert last.network.weights.nnz == E - round(0.7 * E)
    assert len(last.network) == N - round(neurons * N)
    assert np.isfinite(last.network.weights.data).all()
    assert (last.network.weights.data != 0).all()


def test_a_budget_of_no_synapse_leaves_none() -> None:
    last = pruned(network(), sparsity=0.9999)
    assert last.network.weights.nnz == 0
    assert last.gain == 1


def test_a_budget_below_a_synapse_a_neuron_says_who_hears_nobody() -> None:
    last = pruned(network(), sparsity=0.995, calibrate="none")
    alone = int((np.diff(last.network.weights.indptr) == 0).sum())
    assert 0 < last.network.weights.nnz < N
    assert f"fewer synapses than neurons: {alone} neurons hear no other" in last.steps[0].said
    assert "fewer" not in pruned(network(), sparsity=0.5).steps[0].said
    selves = replace(network(), weights=sparse.eye_array(N, format="csr"))
    assert f"{N} neurons hear no other" in pruned(selves, sparsity=0.5).steps[0].said


def test_what_no_input_reaches_is_said() -> None:
    last = pruned(network(fed=0.05), sparsity=0.97)
    assert "no input reaches" in last.steps[0].said


def test_an_unstable_linearisation_says_by_how_much_it_was_scaled() -> None:
    last = pruned(network(weight=2.0, inhibitory=0.5, g=1.0, refractory=0.0), sparsity=0.7)
    assert "coupling scaled by 0." in last.steps[0].said


def test_a_saturated_network_is_named() -> None:
    with pytest.raises(ConfigError, match="saturated"):
        pruned(replace(network(), bias=np.full(N, 1e4)))


def test_times_that_are_not_positive_name_the_neuron() -> None:
    with pytest.raises(ConfigError, match=r"tau_m: .*neuron 3"):
        replace(network(), tau_m=np.where(np.arange(N) == 3, -0.01, 0.02))


@pytest.mark.parametrize(
    "times",
    [{"refractory": float("nan")}, {"refractory": -1e-3}, {"dt": float("inf")}, {"dt": 0.0}],
)
def test_times_of_the_grid_are_finite(times: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="finite times"):
        replace(network(), **times)  # type: ignore[arg-type]


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ConfigError, match="square"):
        network().with_weights(sparse.csr_array((N, N + 1)))


def test_modules_are_taken_for_their_networks_and_other_things_named() -> None:
    from microglia.lyapunov import linear_stability, neuron_exponents
    from microglia.networks import HRSNN, HRSNNConfig, SmallWorld
    from microglia.simulation import simulate

    config = HRSNNConfig(neurons=40, inputs=2, wiring=SmallWorld(neighbours=8))
    module = HRSNN(config, dtype=torch.float64)
    net = module.recurrent_network()
    drive = np.random.default_rng(0).standard_normal((1000, 2))
    assert linear_stability(module) == linear_stability(net)
    mine, theirs = (neuron_exponents(each, drive).values for each in (module, net))
    assert np.array_equal(mine, theirs)
    for function in (linear_stability, neuron_exponents, mg.prune_recurrent):
        with pytest.raises(mg.ConfigError, match="wanted a RecurrentNetwork or a torch module"):
            function(np.eye(3))
        with pytest.raises(mg.MicrogliaError):
            function(nn.Linear(3, 3))
    with pytest.raises(mg.ConfigError, match="recurrent_network"):
        simulate(module, drive)  # type: ignore[arg-type]
    with pytest.raises(mg.ConfigError, match="wanted an LNPConfig"):
        mg.prune_recurrent(net, 0.8)  # type: ignore[arg-type]


def test_dense_matrices_are_taken() -> None:
    W = np.random.default_rng(0).normal(0, 0.1, (5, 5))
    net = RecurrentNetwork(weights=W, tau_m=np.full(5, 0.02), tau_s=None, inputs=np.eye(5))  # type: ignore[arg-type]
    assert np.array_equal(net.weights.toarray(), W)
    assert np.array_equal(net.inputs.toarray(), np.eye(5))  # type: ignore[union-attr]
    with pytest.raises(mg.ConfigError, match="weights: wanted a matrix"):
        RecurrentNetwork(weights="W", tau_m=np.full(5, 0.02), tau_s=None)  # type: ignore[arg-type]
