"""A network as it once was, to go back to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from microglia.frameworks import WEIGHT_GATE
from microglia.methods.parts.part import Part


class Point(Part):
    """Everything that training changes in a network: parameters, and norms' running statistics.

    Membrane potentials and the like don't belong to it: the loop resets them for every batch.
    """

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        """By the names of the network's `state_dict`, masks left out; empty before it is taken."""

    def take(self, model: nn.Module, masked: Iterable[str]) -> None:
        """Remember the network as it is now, all but the masks of these weights."""
        gates = {name + WEIGHT_GATE for name in masked}
        state = model.state_dict().items()
        self.values = {name: value.clone() for name, value in state if name not in gates}

    @torch.no_grad()
    def return_to(self, model: nn.Module, optimizer: Optimizer | None) -> None:
        """Put the network back, and let its optimizer forget what it learned since."""
        state = model.state_dict()
        for name, value in self.values.items():
            state[name].copy_(value)
        if optimizer is not None:
            for parameter in model.parameters():
                optimizer.state.pop(parameter, None)

    def clear(self) -> None:
        """No way back."""
        self.values = {}

    def state_dict(self) -> dict[str, Any]:
        """The point."""
        return {"values": {name: value.clone() for name, value in self.values.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.values = {name: value.clone() for name, value in state["values"].items()}
