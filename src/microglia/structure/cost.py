"""What a network would cost after a cut, computed from its structure alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from microglia.structure.groups import Keep, Structure, Use


def parameters(structure: Structure, keep: Keep) -> int:
    """Parameters that stay."""
    positions = structure.positions(keep)
    return sum(
        prod(
            int(positions[leaf, d].numel()) if (leaf, d) in positions else n
            for d, n in enumerate(structure.shapes[leaf])
        )
        for leaf in structure.parameters
    )


def macs(structure: Structure, keep: Keep) -> int:
    """Multiply-accumulates of one forward pass of the example input, zeros and padding included.

        sum over uses of a weight:  C_out * C_in / groups * k_h * k_w * places

    A layer that is computed once for all timesteps counts once.
    """
    return int(_operations(structure, keep, {}))


def synops(structure: Structure, keep: Keep, density: Mapping[str, Tensor]) -> float:
    """Synaptic operations of one forward pass, as the present firing predicts them.

    `density[layer]` is the fraction of non-zero values of each input channel of that layer;
    layers that are not named count as fully driven. What fires changes once channels are gone,
    so this is a prediction; measure the compacted network for the figure.
    """
    return _operations(structure, keep, density)


def fan_out(structure: Structure) -> dict[str, float]:
    """Multiply-accumulates that read the spikes of each neuron layer in one forward pass.

        sum over uses of a weight that read them:  C_out * C_in / groups * k_h * k_w * places

    Neuron layers that are read together (added in a residual stream, concatenated) have their part
    by the sizes of their maps.
    """
    read = dict.fromkeys(structure.neurons, 0.0)
    for use in structure.uses:
        maps = {name: structure.neurons[name] for name in use.neurons}
        sizes = {name: shape.numel() for name, shape in maps.items() if shape is not None}
        macs = use.out[0].numel() * use.into[0].numel() / use.groups * use.kernel * use.places
        for name, size in sizes.items():
            read[name] += macs * size / sum(sizes.values())
    return read


def _operations(structure: Structure, keep: Keep, density: Mapping[str, Tensor]) -> float:
    total = 0.0
    for use in structure.uses:
        out = _stays(structure, keep, use.out)
        into = _stays(structure, keep, use.into).to(torch.float64)
        groups = _groups(use, int(into.sum()))
        if use.layer in density:
            into = into * density[use.layer].to(torch.float64)
        total += float(into.sum()) * int(out.sum()) / groups * use.kernel * use.places
    return total


def _groups(use: Use, inputs: int) -> int:
    """Groups that are left: a depthwise convolution has as many as input channels."""
    depthwise = use.groups > 1 and use.groups == use.into[0].numel()
    return inputs if depthwise else use.groups


def _stays(structure: Structure, keep: Keep, positions: tuple[Tensor, Tensor]) -> Tensor:
    group, channel = positions
    stays = torch.ones(group.numel(), dtype=torch.bool)
    for index, g in enumerate(structure.groups):
        mine = group == index
        if g.name in keep and bool(mine.any()):
            stays[mine] = keep[g.name].cpu()[channel[mine]]
    return stays
