"""Tensors that a method holds beside the network, as part of its state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from microglia.methods.parts.part import Part


class Held(Part):
    """Tensors by name: of each weight, or of each group."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.tensors[name] = value

    def state_dict(self) -> dict[str, Tensor]:
        """All of them."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """In place, since an optimizer may know some of them."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])
