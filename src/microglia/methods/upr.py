"""UPR: masks that harden while they are learned, dearer where a weight is used more often."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.gated import GatedPruner


class UPR(GatedPruner):
    """Unstructured pruning of weights by learned masks, under a penalty on their operations.

        w̃ = w σ(β α)                      β = β₀ (β_K / β₀)^x,  x = n / N of the run's N steps
        R = Σ e σ(β α)                    e ~ the places that a weight is used at in one timestep
        at last: w̃ = w [α > 0]

    The sparsity rises with λ. e is divided by its mean over all weights, so that λ means the same
    for images of any size.

    Args:
        total_steps: N, of β's rise, after `warmup`; None for `until`.
        strength: λ, in the unit of the loss for each weight.
        beta: β₀ and β_K.
        The others: see `GatedPruner`, with α for φ.

    Source: Shi et al., "Towards energy efficient spiking neural networks: an unstructured pruning
    framework", ICLR 2024. Its masks on neurons, which act within the network at each position of
    a map, are left out: this is its pruning of weights alone. Dividing e by its mean, λ and the
    masks' rate are this package's choice.
    """

    name = "upr"
    source = "Shi et al., ICLR 2024"
    travel = 1.0

    def __init__(
        self,
        model: nn.Module,
        *,
        total_steps: int | None = None,
        strength: float = 1e-3,
        beta: tuple[float, float] = (5.0, 1000.0),
        **settings: Any,
    ) -> None:
        length = total_steps if total_steps is not None else settings.get("until")
        if length is None or length < 1:
            raise ConfigError("'upr' hardens its masks over total_steps=; give that or until=")
        if len(beta) != 2 or not 0 < beta[0] <= beta[1] < math.inf:
            raise ConfigError(f"beta rises from one number above 0 to another; got {beta!r}")
        self.total_steps, self._betas = length, beta
        super().__init__(model, strength=strength, **settings)
        costs = {n: float(self._price(n, "macs", {}).mean()) for n in self.masks.weights}
        total = sum(costs[n] * k for n, k in self.sizes().items())
        self._energy = {n: c * sum(self.sizes().values()) / total for n, c in costs.items()}

    @property
    def beta(self) -> float:
        """β after the steps taken."""
        first, last = self._betas
        warmup = self.schedule.warmup
        x = (self.steps - warmup) / max(1, self.total_steps - warmup)
        return float(first * (last / first) ** min(1.0, max(0.0, x)))

    def _gate(self, gate: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * gate)

    def _gate_slope(self, gate: Tensor, z: Tensor) -> Tensor:
        return self.beta * z * (1 - z)

    def _pressure(self, name: str, gate: Tensor) -> Tensor:
        z = torch.sigmoid(self.beta * gate)
        return self._energy[name] * self.beta * z * (1 - z)

    def _last(self, gate: Tensor) -> Tensor:
        return (gate > 0).to(gate)
