"""Channels that nothing reads, once weights are zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from microglia.structure import Keep, Structure, output_axis


def unread(model: nn.Module, structure: Structure) -> Keep:
    """The mask that leaves out every channel whose readers all have zero weights for it.

    A channel that goes takes its own weights along, so that those before it may go too. Each group
    keeps one channel. What is left computes the same: nobody misses what nobody reads.
    """
    alive = {
        leaf: model.get_parameter(structure.leaves[leaf][0]).detach().cpu() != 0
        for leaf in structure.parameters
        if len(structure.shapes[leaf]) > 1
    }
    keep = dict(structure.everything())
    while True:
        before = sum(int(mask.sum()) for mask in keep.values())
        for group in structure.groups:
            read = torch.zeros(group.size, dtype=torch.bool)
            known = set()
            for cut in group.cuts:
                layer = structure.leaves[cut.leaf][0].rpartition(".")[0]
                if layer not in group.readers or cut.leaf not in alive:
                    continue
                if cut.dim == 1 - output_axis(model.get_submodule(layer)):
                    known.add(layer)
                    _mark(read, cut.channel, alive[cut.leaf].transpose(0, cut.dim))
            if known != set(group.readers):
                continue  # a reader, such as a depthwise convolution, that has no axis for it
            left = keep[group.name] & read
            if not left.any():
                left[keep[group.name].nonzero()[0]] = True
            keep[group.name] = left
            for cut in group.cuts:
                if cut.leaf in alive:
                    gone = (cut.channel >= 0) & ~keep[group.name][cut.channel.clamp(min=0)]
                    alive[cut.leaf].index_fill_(cut.dim, gone.nonzero().flatten(), False)
        if before == sum(int(mask.sum()) for mask in keep.values()):
            return keep


def _mark(read: Tensor, channel: Tensor, alive: Tensor) -> None:
    """Note the channels that a weight's rows, one for each position, read."""
    some = alive.flatten(1).any(1) & (channel >= 0)
    read[channel[some]] = True
