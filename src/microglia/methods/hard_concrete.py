"""Hard concrete gates: each synapse is there with a probability that is learned."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.gated import GatedPruner

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1  # of Louizos et al.
SHIFT = BETA * math.log(-GAMMA / ZETA)


class HardConcrete(GatedPruner):
    """Bernoulli gates on synapses, relaxed to the hard concrete distribution, under an L0 penalty.

        z = clip((ζ - γ) σ((ln u - ln(1 - u) + φ) / β) + γ, 0, 1)        u ~ U(0, 1), each step
        R = Σ P(z ≠ 0) = Σ σ(φ - β ln(-γ / ζ))
        at last: z = clip((ζ - γ) σ(φ) + γ, 0, 1)               β = 2/3, γ = -0.1, ζ = 1.1

    The sparsity rises with λ.

    Args:
        strength: λ, in the unit of the loss for each synapse.
        start: σ(φ) at the beginning, in (0, 1).
        The others: see `GatedPruner`.

    Source: Yin et al., "Energy-efficient models for high-dimensional spike train classification
    using sparse spiking neural networks", KDD 2021, which puts gates on an SNN's synapses; the
    formulas are those of Louizos et al., "Learning sparse neural networks through L0
    regularization", ICLR 2018. λ and the gates' start and rate are this package's choice.
    """

    name = "hard-concrete"
    source = "Yin et al., KDD 2021"
    travel = 10.0

    def __init__(
        self, model: nn.Module, *, strength: float = 3e-3, start: float = 0.5, **settings: Any
    ) -> None:
        if not 0 < start < 1:
            raise ConfigError(f"start is a probability, in (0, 1); got {start!r}")
        self._start = math.log(start / (1 - start))
        super().__init__(model, strength=strength, **settings)

    def _gate(self, gate: Tensor) -> Tensor:
        u = torch.rand(gate.shape, generator=self.generator).clamp(1e-6, 1 - 1e-6).to(gate)
        return _stretched(torch.sigmoid((u.logit() + gate) / BETA))

    def _gate_slope(self, gate: Tensor, z: Tensor) -> Tensor:
        s = (z - GAMMA) / (ZETA - GAMMA)
        inside = (z > 0) & (z < 1)
        return inside * (ZETA - GAMMA) * s * (1 - s) / BETA

    def _pressure(self, name: str, gate: Tensor) -> Tensor:
        p = torch.sigmoid(gate - SHIFT)
        return p * (1 - p)

    def _last(self, gate: Tensor) -> Tensor:
        return _stretched(torch.sigmoid(gate))


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
