"""Masks that are drawn at random know nothing of the weights, though both come of one seed."""

from __future__ import annotations

import pytest
import torch
from test_contract import Loop

from microglia.methods import (
    ESL,
    NDSNN,
    DeepR,
    Pruner,
    RandomWeights,
    SparseRandom,
    SpikeThrift,
)
from microglia.methods.parts.scores import erdos_renyi
from zoo import make

AT_RANDOM = [RandomWeights, SparseRandom, ESL, NDSNN, SpikeThrift, DeepR]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("cls", AT_RANDOM)
def test_open_weights_are_a_fair_sample(cls: type[Pruner], seed: int) -> None:
    """Of the network drawn from the pruner's own seed: neither larger nor of one sign."""
    ends = {} if cls in (RandomWeights, SparseRandom) else {"until": 1000}
    loop = Loop(cls, "chain", sparsity=0.8, seed=seed, **ends)
    plain, _ = make("chain", T=2, seed=seed)
    for name, mask in loop.pruner.masks.keep().items():
        drawn = plain.get_parameter(name).detach().flatten()
        for value in (drawn, drawn.abs()):
            error = float(value.std()) / int(mask.sum()) ** 0.5
            assert float(value[mask].mean()) == pytest.approx(float(value.mean()), abs=4 * error)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_layer_keeps_an_equal_fraction_as_it_was_drawn(seed: int) -> None:
    loop = Loop(RandomWeights, "chain", sparsity=0.75, seed=seed)
    plain, _ = make("chain", T=2, seed=seed)
    for name, mask in loop.pruner.masks.keep().items():
        assert abs(int(mask.sum()) - len(mask) / 4) <= 1
        drawn = plain.get_parameter(name).detach().flatten()
        assert torch.equal(loop.pruner.masks.weights[name].detach().flatten(), drawn * mask)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("network", ["chain", "pre-activation"])
def test_a_sparse_random_network_is_the_start_of_esl(network: str, seed: int) -> None:
    """Its layers have their shares by Erdős-Rényi, and its masks never move."""
    control = Loop(SparseRandom, network, sparsity=0.9, seed=seed)
    start = Loop(ESL, network, sparsity=0.9, seed=seed, every=100, until=1000)
    masks = control.pruner.masks.keep()
    assert all(torch.equal(m, masks[n]) for n, m in start.pruner.masks.keep().items())
    shares = erdos_renyi(control.pruner.masks.weights)
    degree = {n: int(m.sum()) / shares[n] for n, m in masks.items() if not m.all()}
    assert len(degree) > 1
    some = sum(degree.values()) / len(degree)
    assert all(abs(d - some) * shares[n] < 2 for n, d in degree.items())
    control.run(3)
    assert all(torch.equal(m, masks[n]) for n, m in control.pruner.masks.keep().items())
