"""Masks that are drawn at random know nothing of the weights, though both come of one seed."""

from __future__ import annotations

import pytest
import torch
from test_contract import Loop

from microglia.methods import ESL, NDSNN, DeepR, Pruner, RandomWeights, SpikeThrift
from zoo import make

AT_RANDOM = [RandomWeights, ESL, NDSNN, SpikeThrift, DeepR]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("cls", AT_RANDOM)
def test_open_weights_are_a_fair_sample(cls: type[Pruner], seed: int) -> None:
    """Of the network drawn from the pruner's own seed: neither larger nor of one sign."""
    ends = {} if cls is RandomWeights else {"until": 1000}
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
