"""Channels that nothing reads, once weights are zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microglia.structure import Group, Keep, Structure, output_axis


def unread(model: nn.Module, structure: Structure) -> Keep:
    """The mask that leaves the channels that reach an output by weights that aren't zero.

    What is left computes the same: nobody misses what nobody reads. Channels that only read each
    other, or themselves, go too. Each group keeps one channel, and what that one reads.
    """
    weights = list(_weights(model, structure))
    keep = {g.name: _read_unseen(g, weights) for g in structure.groups}
    _follow(keep, weights)
    for group in reversed(structure.groups):  # who reads comes first: it may need those before it
        if not keep[group.name].any():
            keep[group.name][_lightest(group, weights)] = True
            _follow(keep, weights)
    return keep


@dataclass(frozen=True)
class _Weight:
    """A weight as a graph from the channels that it reads to those that it computes."""

    layer: str
    there: Tensor
    """Whether any of the kernel isn't zero, boolean [C_out, C_in]."""
    computes: list[tuple[str, Tensor]]
    """Group, and its channel at each of C_out, -1 where it is another's; so too what it reads."""
    reads: list[tuple[str, Tensor]]


def _weights(model: nn.Module, structure: Structure) -> Iterator[_Weight]:
    for leaf in sorted(structure.parameters):
        name = structure.leaves[leaf][0]
        layer = name.rpartition(".")[0]
        if len(structure.shapes[leaf]) < 2:
            continue
        axis = output_axis(model.get_submodule(layer))
        there = (model.get_parameter(name).detach().cpu() != 0).transpose(0, axis)
        sides: tuple[list[tuple[str, Tensor]], ...] = ([], [])
        for group in structure.groups:
            for cut in (c for c in group.cuts if c.leaf == leaf):
                if cut.dim == axis or (cut.dim == 1 - axis and layer in group.readers):
                    sides[int(cut.dim != axis)].append((group.name, cut.channel))
        yield _Weight(layer, there.flatten(2).any(2) if there.dim() > 2 else there, *sides)


def _read_unseen(group: Group, weights: list[_Weight]) -> Tensor:
    """All channels, where a reader, such as a depthwise convolution, has no axis for them."""
    seen = {w.layer for w in weights if any(name == group.name for name, _ in w.reads)}
    return torch.full((group.size,), seen != set(group.readers))


def _follow(keep: dict[str, Tensor], weights: list[_Weight]) -> None:
    """Keep whatever is read by what is kept, or by an output, in place."""
    kept = -1
    while kept != (kept := sum(int(mask.sum()) for mask in keep.values())):
        for weight in weights:
            stays = torch.ones(len(weight.there), dtype=torch.bool)
            for name, channel in weight.computes:
                mine = channel >= 0
                stays[mine] = keep[name][channel[mine]]
            read = weight.there[stays].any(0)
            for name, channel in weight.reads:
                keep[name][channel[read & (channel >= 0)]] = True


def _lightest(group: Group, weights: list[_Weight]) -> int:
    """The channel that reads the fewest others."""
    count = torch.zeros(group.size, dtype=torch.long)
    for weight in weights:
        for name, channel in weight.computes:
            mine = channel >= 0
            if name == group.name:
                count.index_add_(0, channel[mine], weight.there[mine].sum(1))
    return int(count.argmin())
