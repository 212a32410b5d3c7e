"""The gradient that closed weights would have, which says what opening them would bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from microglia.methods.parts.part import Part
from microglia.methods.parts.scores import on_device


class DenseGradient(Part):
    """The first moment of every weight's gradient, closed ones too.

        m <- decay · m + (1 − decay) · dL/dw

    With decay 0 it is the last step's gradient. An optimizer keeps the same for the weights that
    are open; its own of closed weights is cleared, so that none of them moves.
    """

    def __init__(self, *, decay: float) -> None:
        self.decay = decay
        self.moment: dict[str, Tensor] = {}
        """By the weight's name; empty before the first gradient."""

    @torch.no_grad()
    def take(self, weights: Mapping[str, nn.Parameter]) -> None:
        """Add a step's gradients; call it before those of closed weights are taken away."""
        for name, weight in weights.items():
            if weight.grad is None:
                continue
            if name not in self.moment:
                self.moment[name] = torch.zeros_like(weight)
            on_device(self.moment, name, weight.device).lerp_(weight.grad, 1 - self.decay)

    def clear(self) -> None:
        """Start afresh."""
        self.moment = {}

    def state_dict(self) -> dict[str, Any]:
        """The moments so far."""
        return {"moment": {name: m.clone() for name, m in self.moment.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.moment = {name: m.clone() for name, m in state["moment"].items()}
