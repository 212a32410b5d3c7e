"""What a cut will cost, computed from the structure, is what the cut network has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from microglia.structure.cost import macs, parameters, synops
from microglia.surgery import cut


def counted_macs(model: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of one forward pass, by hooks on the layers that run."""
    total = 0

    def hook(m: nn.Module, args: tuple[torch.Tensor], y: torch.Tensor) -> None:
        nonlocal total
        if isinstance(m, nn.Linear):
            total += y.numel() * m.in_features
        elif isinstance(m, nn.ConvTranspose2d):
            total += args[0].numel() * m.weight[0].numel()
        else:
            total += y.numel() * m.weight[0].numel()

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model.eval()(x)
    return total


@pytest.mark.parametrize("name", zoo.NETWORKS)
@pytest.mark.parametrize("sparsity", [0.0, 0.6])
def test_parameters_and_macs_equal_those_of_the_cut_network(name: str, sparsity: float) -> None:
    model, x = zoo.make(name)
    structure = zoo.structure_of(name)
    keep = zoo.random_keep(structure, sparsity, seed=2)
    small, _ = cut(model, structure, keep)
    assert parameters(structure, keep) == sum(p.numel() for p in small.parameters())
    assert macs(structure, keep) == counted_macs(small, x)
    assert synops(structure, keep, {}) == macs(structure, keep)
