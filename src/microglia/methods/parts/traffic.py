"""How often each input channel of a layer is non-zero, for predicting SynOps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from microglia.frameworks import Hook
from microglia.methods.parts.part import Part
from microglia.structure import Structure


class Traffic(Part):
    """The fraction of non-zero values of each input channel of each synapse layer.

    Counted while the layers are in training mode, or `always`, whether or not a step comes of it.
    """

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.last: dict[str, Tensor] = {}
        self.always = False
        self._handles = []
        for use in structure.uses:
            if use.layer not in self.sums:
                self.sums[use.layer] = torch.zeros(use.into[0].numel())
                self.counts[use.layer] = 0.0
                module = model.get_submodule(use.layer)
                self._handles.append(module.register_forward_pre_hook(_Count(self, use.layer)))

    def density(self) -> dict[str, Tensor]:
        """Layer -> fraction of non-zero values of each input channel, where something was seen.

        A channel that has been silent since `clear` counts as it did when it last fired: behind a
        closed gate it tells nothing of what it would do if it were open.
        """
        for n, s in self.sums.items():
            if self.counts[n]:
                before = self.last.get(n, torch.zeros_like(s))
                self.last[n] = torch.where(s > 0, s / self.counts[n], before)
        return dict(self.last)

    def seen(self) -> bool:
        """Whether the network has run at all."""
        return bool(self.last) or any(self.counts.values())

    def clear(self) -> None:
        """Start afresh."""
        for name, tensor in self.sums.items():
            tensor.zero_()
            self.counts[name] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The counts so far."""
        return {
            "sums": {k: v.clone() for k, v in self.sums.items()},
            "counts": dict(self.counts),
            "last": {k: v.clone() for k, v in self.last.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the counts of `state_dict`."""
        self.sums = {k: v.clone() for k, v in state["sums"].items()}
        self.counts = dict(state["counts"])
        self.last = {k: v.clone() for k, v in state["last"].items()}


class _Count(Hook):
    def __init__(self, traffic: Traffic, layer: str) -> None:
        self.traffic: Traffic | None = traffic
        self.layer = layer

    def __deepcopy__(self, memo: dict[int, Any]) -> _Count:
        copy = _Count.__new__(_Count)
        copy.traffic = None
        return copy

    def __call__(self, module: nn.Module, args: Any) -> None:
        traffic = self.traffic
        if traffic is None or (not traffic.always and not module.training):
            return
        x = args[0].detach()
        space = len(module.kernel_size) if isinstance(module, nn.modules.conv._ConvNd) else 0
        axis = x.dim() - 1 - space
        others = [d for d in range(x.dim()) if d != axis]
        traffic.sums[self.layer] += (x != 0).sum(others).float().cpu()
        traffic.counts[self.layer] += x.numel() / x.shape[axis]
