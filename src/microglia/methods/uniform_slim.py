"""Uniform-slim: the same network, narrowed evenly and trained from scratch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from microglia.methods.channels import ChannelPruner


class UniformSlim(ChannelPruner):
    """Close the last channels of every layer, the same fraction in each, before training.

    What is left is the same network at a smaller width; whether a clever choice of channels
    beats it at equal parameters is the question that matters. Closed channels reach no reader,
    so training with the gates closed is training the narrow network. Its weights are given the
    spread that the narrow network's own initialisation would have:

        w  <-  w * sqrt(fan_in before / fan_in after)

    which is exact for PyTorch's default and every other fan-in rule; a fan-out rule would scale by
    the outputs' ratio, which differs in the first and the last layer alone. With
    `target={"parameters": f}` the width is solved to within one channel. The network need not come
    at several widths: SpikingJelly's SEW- and MS-ResNets are narrowed as ours are.
    """

    name = "uniform-slim"
    needs = "initialisation"
    source = "control"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, scope="layer", **settings)
        order = {g.name: torch.arange(g.size, 0, -1).float() for g in self.structure.groups}
        with self._detached_if_refused():
            self._prune(order)
        self._widen_spread(self.masks.keep())

    def _widen_spread(self, keep: dict[str, Tensor]) -> None:
        positions = self.structure.positions(keep)
        readers = {use.layer for use in self.structure.uses}
        with torch.no_grad():
            for leaf, names in enumerate(self.structure.leaves):
                layer, _, attribute = names[0].rpartition(".")
                if (leaf, 1) in positions and attribute == "weight" and layer in readers:
                    before = self.structure.shapes[leaf][1]
                    after = positions[leaf, 1].numel()
                    self.model.get_parameter(names[0]).mul_((before / after) ** 0.5)
