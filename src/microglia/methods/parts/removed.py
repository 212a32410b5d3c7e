"""Neurons that are gone: nobody may read them any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.gates import WeightMasks
from microglia.methods.parts.part import Part
from microglia.structure import Structure, output_axis

Readers = Mapping[str, tuple[int, Tensor]]
"""Weight -> the axis along which it reads neurons, and the neuron at each position, or -1."""


def readers_of(model: nn.Module, structure: Structure, weight: str, *, N: int) -> Readers:
    """All weights that read the N neurons whose synapses are the rows of a recurrent weight.

    Raises:
        ConfigError: the neurons can't be removed one by one, or something reads them that isn't a
            weight.
    """
    leaf = next(i for i, names in enumerate(structure.leaves) if weight in names)
    group = next(
        (g for g in structure.groups if any((c.leaf, c.dim) == (leaf, 0) for c in g.cuts)), None
    )
    if group is None:
        why = structure.fixed.get(weight.rpartition(".")[0], "other layers need them as they are")
        raise ConfigError(f"neurons: those of '{weight}' can't be removed: {why}")
    rows = next(c.channel for c in group.cuts if (c.leaf, c.dim) == (leaf, 0))
    if len(set(rows.tolist())) != N or group.size != N:
        raise ConfigError(f"neurons: those of '{weight}' only go together with others")
    neuron = torch.empty(N, dtype=torch.long)
    neuron[rows] = torch.arange(N)
    found, known = {}, set()
    for cut in group.cuts:
        name = structure.leaves[cut.leaf][0]
        layer = name.rpartition(".")[0]
        if layer in group.readers and cut.dim == 1 - output_axis(model.get_submodule(layer)):
            known.add(layer)
            there = cut.channel >= 0
            found[name] = (cut.dim, torch.where(there, neuron[cut.channel.clamp(min=0)], -1))
    if known != set(group.readers):
        odd = ", ".join(sorted(set(group.readers) - known))
        raise ConfigError(
            f"neurons: those of '{weight}' are read by {odd}, which has no weight for each of them"
        )
    return found


class Removed(Part):
    """Keeps the masks of the weights that read removed neurons, which aren't units themselves.

    Args:
        readers: of each recurrent weight.
    """

    def __init__(self, masks: WeightMasks, readers: Mapping[str, Readers]) -> None:
        self.masks, self.readers = masks, readers

    def close(self, weight: str, gone: Tensor) -> None:
        """Close what reads the neurons that are `gone`, boolean [N], of a recurrent weight."""
        for name, (axis, neuron) in self.readers[weight].items():
            mask = self.masks.mask(name).clone()
            mask.transpose(0, axis)[(neuron >= 0) & gone[neuron.clamp(min=0)]] = False
            self.masks.put(name, mask)

    def state_dict(self) -> dict[str, Any]:
        names = {name for readers in self.readers.values() for name in readers}
        return {name: self.masks.mask(name).cpu().clone() for name in sorted(names)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, mask in state.items():
            self.masks.put(name, mask)
