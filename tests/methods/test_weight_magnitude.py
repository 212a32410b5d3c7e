"""Weight magnitude: the largest |w| stay, over all layers or in each."""

from __future__ import annotations

import pytest
import torch
from test_contract import NETWORKS, Loop

from microglia.methods import WeightMagnitude


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_the_largest_weights_of_all_layers_stay(network: str, sparsity: float) -> None:
    loop = Loop(WeightMagnitude, network, sparsity=sparsity)
    sizes = {n: w.detach().abs().flatten() for n, w in loop.pruner.masks.weights.items()}
    loop.prune()
    masks = loop.pruner.masks.keep()
    # But for each layer's largest: no layer is emptied.
    staying = torch.cat([sizes[n][masks[n]].sort().values[:-1] for n in sizes])
    going = torch.cat([sizes[n][~masks[n]] for n in sizes])
    assert staying.min() >= going.max()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_in_each_layer_the_same_fraction_of_its_largest(network: str, sparsity: float) -> None:
    loop = Loop(WeightMagnitude, network, sparsity=sparsity, scope="layer")
    sizes = {n: w.detach().abs().flatten() for n, w in loop.pruner.masks.weights.items()}
    loop.prune()
    for name, mask in loop.pruner.masks.keep().items():
        assert abs(int(mask.sum()) - (1 - sparsity) * len(mask)) <= 1
        assert sizes[name][mask].min() >= sizes[name][~mask].max()
